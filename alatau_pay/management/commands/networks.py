"""``manage.py networks``: whether every network in the registry answers, and on the right chain."""

from typing import Any

from django.core.management.base import BaseCommand, CommandError
from typing_extensions import override

from chains.networks import RegistryError, node_for, registry
from chains.nodes import NodeError


class Command(BaseCommand):
    """Connect to every network; fail when one cannot be used."""

    help = (
        "Connect to every network of NETWORKS_FILE and print its tip; fails if one cannot be used."
    )

    @override
    def handle(self, *args: Any, **options: Any) -> None:
        """Print a line for each network."""
        try:
            networks = registry().networks.values()
            if not networks:
                raise CommandError("NETWORKS_FILE names no network.")
            for network in networks:
                tip = node_for(network).tip_height()
                self.stdout.write(f"{network.name:20} {network.caip2:45} tip {tip}")
        except (RegistryError, NodeError) as error:
            raise CommandError(str(error)) from None
