"""The rows of payouts: batches, what became of them, and the bank's lines that say so.

All are facts, added and never changed (``migrations/payouts.sql``); the state of a payout is told
by the facts about it (``payout_states``). Officials are named by a text.
"""

from typing import ClassVar

from django.contrib.postgres.functions import TransactionNow
from django.db import models
from django.db.models.expressions import RawSQL
from typing_extensions import override

from settlement.bank_files.orders import NAME_CHARS_MAX, NUMBER_MAX, PURPOSE_CHARS_MAX

OFFICIAL_CHARS_MAX = 150
REASON_CHARS_MAX = 300


class PayoutBatch(models.Model):
    """Payouts of one value day from one account, made by one transaction (``prepared_xid``).

    ``taken_before`` is the moment up to which takings count.
    """

    value_on = models.DateField(db_index=True)
    taken_before = models.DateTimeField()
    payer_name = models.CharField(max_length=NAME_CHARS_MAX)
    payer_bin_or_iin = models.CharField(max_length=12)
    payer_iban = models.CharField(max_length=20)
    payer_kbe = models.CharField(max_length=2)
    prepared_by = models.CharField(max_length=OFFICIAL_CHARS_MAX)
    prepared_at = models.DateTimeField(db_default=TransactionNow(), editable=False)
    prepared_xid = models.BigIntegerField(
        db_default=RawSQL("(pg_current_xact_id()::text::bigint)", []), editable=False
    )

    class Meta:
        constraints: ClassVar = [
            models.CheckConstraint(condition=~models.Q(prepared_by=""), name="batch_prepared_by")
        ]

    @override
    def __str__(self) -> str:
        return self.reference

    @property
    def reference(self) -> str:
        """What the bank's file and the purpose of each payment call it."""
        return f"AP-{self.value_on:%Y%m%d}-{self.pk}"


class Payout(models.Model):
    """What one shop is paid, and the bank details that it is paid to, as they then were.

    Its id is the payment order's number. Beneficiary, value day and ``attempt``, the number of its
    payouts of that day that came to nothing, are the claim: there is one for two who want the same
    payout (R126).
    """

    batch = models.ForeignKey(PayoutBatch, models.PROTECT, related_name="payouts")
    beneficiary = models.CharField(max_length=64)
    value_on = models.DateField()
    attempt = models.PositiveSmallIntegerField()
    amount_tiyn = models.BigIntegerField()
    payee_name = models.CharField(max_length=NAME_CHARS_MAX)
    payee_bin_or_iin = models.CharField(max_length=12)
    payee_iban = models.CharField(max_length=20)
    payee_kbe = models.CharField(max_length=2)
    knp = models.CharField(max_length=3)
    purpose = models.CharField(max_length=PURPOSE_CHARS_MAX)

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["beneficiary", "value_on", "attempt"], name="payout_claim"
            ),
            models.CheckConstraint(
                condition=models.Q(amount_tiyn__gt=0, id__lte=NUMBER_MAX), name="payout_positive"
            ),
        ]

    @override
    def __str__(self) -> str:
        return self.source

    @property
    def source(self) -> str:
        """What the ledger calls it."""
        return f"payout {self.pk}"


class PayoutApproval(models.Model):
    """A second official's word that a batch may go to the bank."""

    batch = models.OneToOneField(PayoutBatch, models.PROTECT, related_name="approval")
    approved_by = models.CharField(max_length=OFFICIAL_CHARS_MAX)
    approved_at = models.DateTimeField(db_default=TransactionNow(), editable=False)

    @override
    def __str__(self) -> str:
        return f"{self.batch_id} by {self.approved_by}"


class PayoutCancellation(models.Model):
    """A batch that never left: its shops are owed it again."""

    batch = models.OneToOneField(PayoutBatch, models.PROTECT, related_name="cancellation")
    cancelled_by = models.CharField(max_length=OFFICIAL_CHARS_MAX)
    reason = models.CharField(max_length=REASON_CHARS_MAX)
    cancelled_at = models.DateTimeField(db_default=TransactionNow(), editable=False)

    @override
    def __str__(self) -> str:
        return f"{self.batch_id}: {self.reason}"


class PayoutExport(models.Model):
    """The one file of a batch, for ever: from here on the bank may have paid."""

    batch = models.OneToOneField(PayoutBatch, models.PROTECT, related_name="export")
    form = models.CharField(max_length=20)
    file_name = models.CharField(max_length=100)
    media_type = models.CharField(max_length=100)
    content = models.BinaryField()
    sha256 = models.CharField(max_length=64)
    exported_by = models.CharField(max_length=OFFICIAL_CHARS_MAX)
    exported_at = models.DateTimeField(db_default=TransactionNow(), editable=False)

    @override
    def __str__(self) -> str:
        return self.file_name


class StatementFile(models.Model):
    """A bank's file as it came."""

    sha256 = models.CharField(max_length=64, unique=True)
    name = models.CharField(max_length=255)
    content = models.BinaryField()
    imported_by = models.CharField(max_length=OFFICIAL_CHARS_MAX)
    imported_at = models.DateTimeField(db_default=TransactionNow(), editable=False)

    @override
    def __str__(self) -> str:
        return self.name


class StatementSpan(models.Model):
    """The days of one account, both included, that a file tells of."""

    file = models.ForeignKey(StatementFile, models.PROTECT, related_name="spans")
    iban = models.CharField(max_length=34)
    begins_on = models.DateField()
    ends_on = models.DateField()
    opening_tiyn = models.BigIntegerField()
    closing_tiyn = models.BigIntegerField()

    class Meta:
        indexes: ClassVar = [models.Index(fields=["iban", "ends_on"], name="span_account")]

    @override
    def __str__(self) -> str:
        return f"{self.iban} {self.begins_on} to {self.ends_on}"


class BankLine(models.Model):
    """One movement of our account, once in however many statements; ``key`` is its identity.

    ``number`` is the reference, if that could be one of ours.
    """

    file = models.ForeignKey(StatementFile, models.PROTECT, related_name="lines")
    key = models.CharField(max_length=64, unique=True)
    iban = models.CharField(max_length=34)
    booked_on = models.DateField()
    amount_tiyn = models.BigIntegerField()
    number = models.BigIntegerField(null=True, db_index=True)
    reference = models.TextField(blank=True)
    bank_reference = models.TextField(blank=True)
    counterparty_name = models.TextField(blank=True)
    counterparty_bin_or_iin = models.TextField(blank=True)
    counterparty_iban = models.TextField(blank=True)
    purpose = models.TextField(blank=True)
    knp = models.TextField(blank=True)
    raw = models.TextField()

    @override
    def __str__(self) -> str:
        return f"{self.booked_on} {self.amount_tiyn} {self.reference}"


class PayoutOutcome(models.Model):
    """What became of an exported payout: the bank's line, or two officials, say it."""

    class Kind(models.TextChoices):
        """Paid; come back after that; never paid."""

        PAID = "paid"
        RETURNED = "returned"
        UNPAID = "unpaid"

    payout = models.ForeignKey(Payout, models.PROTECT, related_name="outcomes")
    kind = models.CharField(max_length=10, choices=Kind.choices)
    line = models.OneToOneField(BankLine, models.PROTECT, null=True, related_name="outcome")
    decided_by = models.CharField(max_length=OFFICIAL_CHARS_MAX, blank=True)
    seconded_by = models.CharField(max_length=OFFICIAL_CHARS_MAX, blank=True)
    reason = models.CharField(max_length=REASON_CHARS_MAX, blank=True)
    recorded_at = models.DateTimeField(db_default=TransactionNow(), editable=False)

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["payout", "kind"], name="payout_outcome_once")
        ]

    @override
    def __str__(self) -> str:
        return f"{self.payout_id} {self.kind}"


class PayoutHold(models.Model):
    """A shop is not to be paid, or may be again: the newest word counts."""

    beneficiary = models.CharField(max_length=64)
    is_held = models.BooleanField()
    reason = models.CharField(max_length=REASON_CHARS_MAX)
    said_by = models.CharField(max_length=OFFICIAL_CHARS_MAX)
    said_at = models.DateTimeField(db_default=TransactionNow(), editable=False)

    class Meta:
        indexes: ClassVar = [models.Index(fields=["beneficiary", "-id"], name="hold_newest")]

    @override
    def __str__(self) -> str:
        return f"{self.beneficiary}: {self.reason}"
