"""The ledger's rows: quotes, accounts, journal entries and their postings.

All of them are facts: the database refuses to change or delete them, and refuses a transaction that
leaves an entry out of balance (``migrations/*.sql``).
"""

import uuid
from typing import ClassVar

from django.contrib.postgres.functions import TransactionNow
from django.contrib.postgres.indexes import BrinIndex
from django.db import models
from django.db.models.expressions import RawSQL
from typing_extensions import override

from settlement.payout_models import (
    BankLine,
    Payout,
    PayoutApproval,
    PayoutBatch,
    PayoutCancellation,
    PayoutExport,
    PayoutHold,
    PayoutOutcome,
    StatementFile,
    StatementSpan,
)
from settlement.rate_models import CombinedRate, Observation, OfficialRates, SourceAttempt

__all__ = [
    "Account",
    "BankLine",
    "ClosedDay",
    "CombinedRate",
    "JournalEntry",
    "Lot",
    "LotUse",
    "Observation",
    "OfficialRates",
    "Payout",
    "PayoutApproval",
    "PayoutBatch",
    "PayoutCancellation",
    "PayoutExport",
    "PayoutHold",
    "PayoutOutcome",
    "Posting",
    "Quote",
    "SealedEntry",
    "SourceAttempt",
    "StatementFile",
    "StatementSpan",
]


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
    any: an invoice's receipts and allocations share one. ``occurred_at`` is the true time;
    ``effective_at`` differs from it where the day was closed when the event was learnt.
    ``booked_xid`` names the transaction that booked it, for the sealer.
    """

    kind = models.CharField(max_length=30)
    source = models.CharField(max_length=250, unique=True)
    subject = models.CharField(max_length=230, db_index=True)
    demand = models.CharField(max_length=64, blank=True, default="", db_index=True)
    quote = models.ForeignKey(Quote, models.PROTECT, null=True, related_name="entries")
    reverses = models.OneToOneField("self", models.PROTECT, null=True, related_name="reversed_by")
    memo = models.CharField(max_length=200, blank=True, default="")
    occurred_at = models.DateTimeField()
    effective_at = models.DateTimeField()
    booked_at = models.DateTimeField(db_default=TransactionNow(), editable=False)
    booked_xid = models.BigIntegerField(
        db_default=RawSQL("(pg_current_xact_id()::text::bigint)", []), editable=False
    )

    class Meta:
        indexes: ClassVar = [
            models.Index(fields=["booked_xid", "id"], name="entry_booked"),
            BrinIndex(fields=["effective_at"], name="entry_effective", autosummarize=True),
        ]
        verbose_name_plural = "journal entries"

    @override
    def __str__(self) -> str:
        return f"{self.kind} {self.source}"


class Posting(models.Model):
    """One line of an entry: debits are positive, credits negative.

    ``balance_tiyn`` is what a beneficiary's account holds after it; the gateway's own accounts,
    which all bookings share, keep none.
    """

    entry = models.ForeignKey(
        JournalEntry, models.PROTECT, related_name="postings", db_constraint=False
    )
    account = models.ForeignKey(
        Account, models.PROTECT, related_name="postings", db_constraint=False, db_index=False
    )
    amount_tiyn = models.BigIntegerField()
    asset = models.CharField(max_length=120, blank=True, default="", help_text="CAIP-19")
    quantity = models.DecimalField(max_digits=78, decimal_places=0, default=0)
    balance_tiyn = models.BigIntegerField(null=True)

    class Meta:
        indexes: ClassVar = [models.Index(fields=["account", "id"], name="posting_account")]

    @override
    def __str__(self) -> str:
        return f"{self.account_id}: {self.amount_tiyn}"


class ClosedDay(models.Model):
    """A business day, Asia/Almaty, that takes no more entries; ``totals`` as they then stood.

    ``totals`` has, by account and asset, what the days since the last close moved and what the
    account then held: tiyn and base units, as text.
    """

    day = models.DateField(unique=True)
    closed_by = models.CharField(max_length=150)
    closed_at = models.DateTimeField(db_default=TransactionNow(), editable=False)
    totals = models.JSONField()

    @override
    def __str__(self) -> str:
        return f"{self.day}"


class Lot(models.Model):
    """Coins that came to the treasury together, at one cost; first in, first out.

    Lots of an asset lie end to end on a line of base units: this one from ``units_before`` on.
    """

    entry = models.ForeignKey(JournalEntry, models.PROTECT, related_name="lots")
    asset = models.CharField(max_length=120, help_text="CAIP-19")
    units_before = models.DecimalField(max_digits=78, decimal_places=0)
    units = models.DecimalField(max_digits=78, decimal_places=0)
    cost_tiyn = models.BigIntegerField()

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["asset", "units_before"], name="lot_place"),
            models.CheckConstraint(
                condition=models.Q(units_before__gte=0, units__gt=0, cost_tiyn__gte=0),
                name="lot_positive",
            ),
        ]

    @override
    def __str__(self) -> str:
        return f"{self.units} of {self.asset}"


class LotUse(models.Model):
    """Coins that left the treasury together: the next ``units`` on the line of lots."""

    entry = models.ForeignKey(JournalEntry, models.PROTECT, related_name="lot_uses")
    asset = models.CharField(max_length=120, help_text="CAIP-19")
    units_before = models.DecimalField(max_digits=78, decimal_places=0)
    units = models.DecimalField(max_digits=78, decimal_places=0)
    cost_tiyn = models.BigIntegerField()

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["asset", "units_before"], name="lot_use_place"),
            models.CheckConstraint(
                condition=models.Q(units_before__gte=0, units__gt=0, cost_tiyn__gte=0),
                name="lot_use_positive",
            ),
        ]

    @override
    def __str__(self) -> str:
        return f"{self.units} of {self.asset}"


class SealedEntry(models.Model):
    """One link of the chain: an entry's hash, and the chain's hash with it.

    ``entry_id`` is no foreign key: the link stays when the entry is gone.
    """

    sequence = models.BigIntegerField(primary_key=True)
    entry_id = models.BigIntegerField(unique=True)
    booked_xid = models.BigIntegerField()
    entry_hash = models.BinaryField(max_length=32)
    chain_hash = models.BinaryField(max_length=32)
    sealed_at = models.DateTimeField(db_default=TransactionNow(), editable=False)

    @override
    def __str__(self) -> str:
        return f"{self.sequence}: {self.entry_id}"
