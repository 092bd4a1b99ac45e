"""``manage.py export_ledger``: the whole ledger for a plain-text accounting tool."""

from typing import Any

from django.core.management.base import BaseCommand, CommandParser
from typing_extensions import override

from settlement.plain_text import PlainText, write_ledger


class Command(BaseCommand):
    """Write every entry, and the balances that they must come to."""

    help = "Write the ledger for bean-check (beancount) or hledger check --strict (hledger)."

    @override
    def add_arguments(self, parser: CommandParser) -> None:
        """Take the language."""
        parser.add_argument("--format", choices=[*PlainText], required=True)

    @override
    def handle(self, *args: Any, **options: Any) -> None:
        """Write it line by line."""
        for line in write_ledger(PlainText(options["format"])):
            self.stdout.write(line)
