"""What our commands share: a sentence instead of a traceback, and the choice of networks."""

from collections.abc import Sequence
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from typing_extensions import override

from chains.assets import Network
from chains.networks import RegistryError, registry
from chains.nodes import NodeError


class NetworkCommand(BaseCommand):
    """A command about the registry's networks; fails with CommandError, which says what to do."""

    @override
    def add_arguments(self, parser: CommandParser) -> None:
        """Add ``--network``."""
        parser.add_argument("--network", help="one network alone, by its name or CAIP-2 id")

    @override
    def execute(self, *args: Any, **options: Any) -> str | None:
        """Run the command; errors of the registry or of a node become sentences."""
        try:
            return super().execute(*args, **options)
        except (RegistryError, NodeError) as error:
            raise CommandError(str(error)) from None

    def chosen(self, name: str | None) -> Sequence[Network]:
        """The networks that ``--network`` names, all without it; raises CommandError."""
        networks = list(registry().networks.values())
        if not networks:
            raise CommandError("NETWORKS_FILE names no network.")
        if name is None:
            return networks
        named = [one for one in networks if name.casefold() in {one.caip2, one.name.casefold()}]
        if not named:
            known = ", ".join(f"{one.name} ({one.caip2})" for one in networks)
            raise CommandError(f"NETWORKS_FILE names no network {name!r}; it names {known}.")
        return named
