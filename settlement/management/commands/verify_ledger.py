"""``manage.py verify_ledger``: whether the journal is still what was sealed."""

import json
import sys
from dataclasses import asdict
from typing import Any

from django.core.management.base import BaseCommand, CommandParser
from typing_extensions import override

from settlement.reports import render_verification
from settlement.verifying import verify_ledger


def anchor_from(text: str) -> tuple[int, str]:
    """A sequence number and a hash from ``12:0af3…``; raises ValueError."""
    sequence, _, chain_hash = text.partition(":")
    if len(bytes.fromhex(chain_hash)) != 32:
        raise ValueError("a hash has 64 hex digits")
    return int(sequence), chain_hash


class Command(BaseCommand):
    """Say up to where the chain is sealed, and name each row that is not as it was; then exit 1."""

    help = "Compare every entry with its sealed hash, and the totals of closed days."

    @override
    def add_arguments(self, parser: CommandParser) -> None:
        """Take the form of the answer, and a hash that was written down before."""
        parser.add_argument("--json", action="store_true", help="for machines")
        parser.add_argument(
            "--anchor", type=anchor_from, metavar="N:HASH", help="the chain's hash at seal N"
        )

    @override
    def handle(self, *args: Any, **options: Any) -> None:
        """Print what was found."""
        verification = verify_ledger(anchor=options["anchor"])
        if options["json"]:
            self.stdout.write(json.dumps(asdict(verification), default=str))
        else:
            self.stdout.write(render_verification(verification))
        if verification.findings:
            sys.exit(1)
