"""``manage.py alerts``: what people must look at, and that they did."""

from collections.abc import Sequence
from typing import Any, Final

from django.core.management.base import CommandError, CommandParser
from typing_extensions import override

from alatau_pay.management.base import NetworkCommand
from chains.alerts import AlertKind, close_alert_kind, close_alert_numbers, open_alerts
from chains.assets import Network

SHOWN_MAX: Final = 100


class Command(NetworkCommand):
    """Print the open alerts; with ``--close`` or ``--close-all``, close some first."""

    help = (
        "Print open alerts with their numbers, or close those that were dealt with. What goes on "
        "all the same is raised again."
    )

    @override
    def add_arguments(self, parser: CommandParser) -> None:
        """Add the choice of alerts and the ways to close them."""
        super().add_arguments(parser)
        kinds = [str(kind) for kind in AlertKind]
        parser.add_argument("--kind", choices=kinds, help="alerts of one kind alone")
        parser.add_argument("--close", type=int, nargs="+", metavar="NUMBER", help="close these")
        parser.add_argument("--close-all", action="store_true", help="close all of the --kind")

    @override
    def handle(self, *args: Any, **options: Any) -> None:
        """Close what is to be closed, then print a line for each that is open."""
        networks = self.chosen(options["network"])
        kind = AlertKind(options["kind"]) if options["kind"] else None
        if options["close"]:
            self._close(options["close"])
        if options["close_all"]:
            self._close_all(networks, kind)
        for network in networks:
            self._show(network, kind)

    def _close(self, numbers: Sequence[int]) -> None:
        closed = close_alert_numbers(numbers)
        self.stdout.write(f"{closed} closed.")
        if closed < len(set(numbers)):
            raise CommandError("Some of these numbers are no open alerts.")

    def _close_all(self, networks: Sequence[Network], kind: AlertKind | None) -> None:
        if kind is None:
            raise CommandError("Name with --kind what to close.")
        closed = sum(close_alert_kind(network=one.caip2, kind=kind) for one in networks)
        self.stdout.write(f"{closed} closed.")

    def _show(self, network: Network, kind: AlertKind | None) -> None:
        shown = open_alerts(network=network.caip2, kind=kind, limit=SHOWN_MAX + 1)
        for one in shown[:SHOWN_MAX]:
            since = f"{one.created_at:%Y-%m-%d %H:%M}"
            self.stdout.write(f"{one.id} {since} {network.name}, {one.kind}: {one.detail}")
        if len(shown) > SHOWN_MAX:
            self.stdout.write(f"{network.name} has more than {SHOWN_MAX}; name a --kind.")
