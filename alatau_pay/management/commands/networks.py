"""``manage.py networks``: how every endpoint of the registry does, asked now."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any, Final

from django.core.management.base import CommandError, CommandParser
from typing_extensions import override

from alatau_pay.management.base import NetworkCommand
from chains.alerts import open_alerts
from chains.assets import Network
from chains.health import blocks_between, health_of
from chains.networks import node_for
from chains.nodes import NodeError

COLUMNS: Final = ("network", "endpoint", "state", "tip", "lag", "ms", "scanned", "behind")


class Command(NetworkCommand):
    """Connect to every endpoint and print a table; fail when a network cannot be used."""

    help = (
        "Ask every node of NETWORKS_FILE for its tip and print a table of health (or --json); "
        "fails if a network cannot be used."
    )

    @override
    def add_arguments(self, parser: CommandParser) -> None:
        """Add ``--json``."""
        super().add_arguments(parser)
        parser.add_argument("--json", action="store_true", help="print JSON")

    @override
    def handle(self, *args: Any, **options: Any) -> None:
        """Print a row for each endpoint."""
        asked = [_ask(network) for network in self.chosen(options["network"])]
        if options["json"]:
            self.stdout.write(json.dumps(asked, indent=2))
        else:
            rows = [row for one in asked for row in _rows(one)]
            self.stdout.write("\n".join([*_table(rows), *_complaints(asked), *_alerts(asked)]))
        failures = [one["error"] for one in asked if one["error"]]
        if failures:
            raise CommandError("\n".join(failures))


def _ask(network: Network) -> dict[str, Any]:
    """What the network's nodes say now, beside how far it was scanned."""
    pool = node_for(network)
    tip, error = None, ""
    try:
        tip = pool.tip_height()
    except NodeError as failure:
        error = str(failure)
    scanned = health_of(network=network.caip2).scanned_height
    return {
        "network": network.caip2,
        "name": network.name,
        "tip_height": tip,
        "scanned_height": scanned,
        "behind_blocks": blocks_between(scanned, tip),
        "error": error,
        "alerts": [
            {"kind": str(one.kind), "since": one.created_at.isoformat(), "detail": one.detail}
            for one in open_alerts(network=network.caip2)
        ],
        "endpoints": [
            asdict(one) | {"lag_blocks": blocks_between(one.tip_height, tip)} for one in pool.health
        ],
    }


def _rows(asked: dict[str, Any]) -> list[Sequence[str]]:
    return [
        [
            asked["name"],
            one["name"],
            "down" if one["error"] else "speaks" if one["speaks"] else "ready",
            *(
                "-" if value is None else str(value)
                for value in (
                    one["tip_height"],
                    one["lag_blocks"],
                    one["latency_ms"],
                    asked["scanned_height"],
                    asked["behind_blocks"],
                )
            ),
        ]
        for one in asked["endpoints"]
    ]


def _complaints(asked: Sequence[dict[str, Any]]) -> list[str]:
    """What is wrong with the spare endpoints of networks that can be used."""
    return [
        f"{network['name']}, {one['name']}: {one['error']}"
        for network in asked
        if not network["error"]
        for one in network["endpoints"]
        if one["error"]
    ]


def _alerts(asked: Sequence[dict[str, Any]]) -> list[str]:
    """What people must look at, a line each."""
    return [
        f"{network['name']}, {one['kind']} since {one['since']}: {one['detail']}"
        for network in asked
        for one in network["alerts"]
    ]


def _table(rows: Sequence[Sequence[str]]) -> list[str]:
    """Lines of columns, as wide as their longest cell."""
    widths = [max(map(len, column)) for column in zip(COLUMNS, *rows, strict=True)]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in (COLUMNS, *rows)
    ]
