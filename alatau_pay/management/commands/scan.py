"""``manage.py scan``: walk to the tip and show how far it is."""

import time
from typing import Any, Final

from django.core.management.base import CommandParser
from typing_extensions import override

from alatau_pay.management.base import NetworkCommand
from alatau_pay.management.progress import Progress
from alatau_pay.pipeline import read_network
from chains.assets import Network
from chains.locks import scanning_alone
from chains.nodes import NodeError

FOLLOW_S: Final = 1.0


class Command(NetworkCommand):
    """Scan networks up to their tips; what is found is applied to invoices by the workers."""

    help = "Scan every network (or one) up to its tip; with --follow, keep at it until stopped."

    @override
    def add_arguments(self, parser: CommandParser) -> None:
        """Add ``--follow``."""
        super().add_arguments(parser)
        parser.add_argument("--follow", action="store_true", help="scan on until Ctrl-C")

    @override
    def handle(self, *args: Any, **options: Any) -> None:
        """Scan once, or until interrupted."""
        networks = self.chosen(options["network"])
        try:
            for network in networks:
                self._scan(network)
            while options["follow"]:
                time.sleep(FOLLOW_S)
                for network in networks:
                    self._follow(network)
        except KeyboardInterrupt:
            self.stdout.write("\nStopped; what was scanned stays.")

    def _follow(self, network: Network) -> None:
        try:
            self._scan(network, quiet=True)
        except NodeError as error:
            self.stderr.write(str(error))

    def _scan(self, network: Network, *, quiet: bool = False) -> None:
        progress, waits = Progress(self.stdout, name=network.name), False
        while True:
            with scanning_alone(network.caip2) as alone:
                report = read_network(network.caip2, told=progress) if alone else None
            if report is None:
                if not waits:
                    self.stdout.write(f"{network.name}: a worker is scanning it; waiting.")
                waits = True
                time.sleep(FOLLOW_S)
            elif report.caught_up:
                break
        if report.applied or not quiet:
            progress.end(report)
