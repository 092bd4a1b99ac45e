"""``manage.py rescan``: read blocks again, and store what is missing."""

from typing import Any

from django.core.management.base import CommandError, CommandParser
from typing_extensions import override

from alatau_pay.management.base import NetworkCommand
from alatau_pay.management.progress import Progress
from chains.listing import check_coin, readable_assets
from chains.networks import node_for, registry
from chains.rescanning import NothingScannedError, rescan_network


class Command(NetworkCommand):
    """Read a network's blocks again, from a height to where its scans stand."""

    help = (
        "Read a network's blocks again from a height on; what is missing is stored, what stands "
        "stays. Scans of new blocks go on meanwhile."
    )

    @override
    def add_arguments(self, parser: CommandParser) -> None:
        """Add ``--from``."""
        super().add_arguments(parser)
        parser.add_argument("--from", type=int, required=True, dest="first", metavar="HEIGHT")

    @override
    def handle(self, *args: Any, **options: Any) -> None:
        """Rescan one network and say how much was missing."""
        networks = self.chosen(options["network"])
        if len(networks) != 1:
            raise CommandError("Name one network with --network.")
        (network,) = networks
        check_coin(network=network, assets=registry().assets_on(network.caip2))
        progress = Progress(self.stdout, name=network.name)
        try:
            report = rescan_network(
                network=network,
                node=node_for(network, readable_assets(registry().assets_on(network.caip2))),
                first=options["first"],
                told=progress,
            )
        except NothingScannedError as error:
            raise CommandError(str(error)) from None
        progress.end(report)
        self.stdout.write(
            f"Found and stored: {report.found} that were missing."
            if report.found
            else "Nothing was missing."
        )
