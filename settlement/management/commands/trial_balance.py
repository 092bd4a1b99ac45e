"""``manage.py trial_balance``: every account, and whether they sum to zero."""

from typing import Any

from django.core.management.base import BaseCommand, CommandError

from settlement.ledger import trial_balance
from settlement.reports import render_trial_balance


class Command(BaseCommand):
    """Print the trial balance; fail when it does not sum to zero."""

    help = "Print every account's balance and the difference of all, which must be zero."

    def handle(self, *args: Any, **options: Any) -> None:  # noqa: ANN401, ARG002 -- Django's shape
        """Print the table."""
        balance = trial_balance()
        self.stdout.write(render_trial_balance(balance))
        if balance.difference_tiyn:
            raise CommandError("The ledger does not balance.")
