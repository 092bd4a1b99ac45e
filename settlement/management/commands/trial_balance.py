"""``manage.py trial_balance``: every account, and whether they sum to zero."""

from typing import Any

from django.core.management.base import BaseCommand, CommandError
from typing_extensions import override

from settlement.ledger import trial_balance
from settlement.reports import render_trial_balance


class Command(BaseCommand):
    """Print the trial balance; fail when it does not sum to zero."""

    help = "Print every account's balance and the difference of all, which must be zero."

    @override
    def handle(self, *args: Any, **options: Any) -> None:
        """Print the table."""
        balance = trial_balance()
        self.stdout.write(render_trial_balance(balance))
        if balance.difference_tiyn:
            raise CommandError("The ledger does not balance.")
