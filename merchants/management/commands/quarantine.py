"""``manage.py quarantine``: the transfers that could not be applied, and why."""

from typing import Any

from django.core.management.base import BaseCommand, CommandParser
from typing_extensions import override

from merchants.quarantine import set_apart_now
from merchants.settling import retry_quarantined

SHOWN_MAX = 100


class Command(BaseCommand):
    """Print the quarantine; with ``--retry``, try its transfers again first."""

    help = "Print transfers that could not be applied to their invoices, with the reason."

    @override
    def add_arguments(self, parser: CommandParser) -> None:
        """Take ``--retry``."""
        parser.add_argument("--retry", action="store_true", help="apply them again first")

    @override
    def handle(self, *args: Any, **options: Any) -> None:
        """Print a line for each transfer."""
        if options["retry"]:
            self.stdout.write(f"{retry_quarantined()} applied")
        waiting = set_apart_now()
        for row in waiting[:SHOWN_MAX]:
            self.stdout.write(f"{row.tried_at:%Y-%m-%d %H:%M} {row.identity} {row.reason}")
        self.stdout.write(f"{waiting.count()} in quarantine")
