"""The ledger's rows: quotes, accounts, journal entries and their postings.

All of them are facts: the database refuses to change or delete them, and refuses a transaction that
leaves an entry out of balance (``migrations/*.sql``).
"""

import uuid
from typing import ClassVar

from django.contrib.postgres.functions import TransactionNow
from django.db import models
from typing_extensions import override


class Quote(models.Model):
    """The price that one invoice's payer was promised for one asset."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    asset = models.CharField(max_length=120, help_text="CAIP-19")
    decimals = models.PositiveSmallIntegerField()
    amount_tiyn = models.BigIntegerField()
    quantity = models.DecimalField(max_digits=78, decimal_places=0, help_text="base units")
    price_tiyn = models.DecimalField(max_digits=48, decimal_places=18, help_text="for a whole coin")
    source = models.CharField(max_length=60)
    provenance = models.JSONField(default=dict)
    observed_at = models.DateTimeField()
    locked_at = models.DateTimeField(auto_now_add=True)
    expires_at = models.DateTimeField()

    class Meta:
        constraints: ClassVar = [
            models.CheckConstraint(
                condition=models.Q(amount_tiyn__gt=0, quantity__gt=0, price_tiyn__gt=0),
                name="quote_positive",
            )
        ]

    @override
    def __str__(self) -> str:
        return f"{self.quantity} of {self.asset}"


class Account(models.Model):
    """One account of the chart, for one beneficiary where the chart says so."""

    code = models.CharField(max_length=40)
    kind = models.CharField(max_length=12)
    beneficiary = models.CharField(max_length=64, blank=True, default="")

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["code", "beneficiary"], name="account_unique")
        ]

    @override
    def __str__(self) -> str:
        return f"{self.code}:{self.beneficiary}" if self.beneficiary else self.code


class JournalEntry(models.Model):
    """One business event; ``source`` is booked once.

    ``subject`` names what the event is about: a receipt, its reversal, and its return after a
    second reorganisation share one. ``demand`` names the demand for money that it belongs to, if
    any: an invoice's receipts and allocations share one.
    """

    kind = models.CharField(max_length=30)
    source = models.CharField(max_length=250, unique=True)
    subject = models.CharField(max_length=230, db_index=True)
    demand = models.CharField(max_length=64, blank=True, default="", db_index=True)
    quote = models.ForeignKey(Quote, models.PROTECT, null=True, related_name="entries")
    reverses = models.OneToOneField("self", models.PROTECT, null=True, related_name="reversed_by")
    memo = models.CharField(max_length=200, blank=True, default="")
    effective_at = models.DateTimeField()
    booked_at = models.DateTimeField(db_default=TransactionNow(), editable=False)

    class Meta:
        verbose_name_plural = "journal entries"

    @override
    def __str__(self) -> str:
        return f"{self.kind} {self.source}"


class Posting(models.Model):
    """One line of an entry: debits are positive, credits negative."""

    entry = models.ForeignKey(JournalEntry, models.PROTECT, related_name="postings")
    account = models.ForeignKey(Account, models.PROTECT, related_name="postings")
    amount_tiyn = models.BigIntegerField()
    asset = models.CharField(max_length=120, blank=True, default="", help_text="CAIP-19")
    quantity = models.DecimalField(max_digits=78, decimal_places=0, default=0)

    class Meta:
        indexes: ClassVar = [models.Index(fields=["account", "entry"], name="posting_account")]

    @override
    def __str__(self) -> str:
        return f"{self.account_id}: {self.amount_tiyn}"
