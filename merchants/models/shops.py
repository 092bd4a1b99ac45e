"""Who sells: a legal person or sole trader, and its shops."""

import uuid
from typing import ClassVar

from django.db import models
from typing_extensions import override

from settlement.identifiers import validate_bin_or_iin, validate_iban


class Merchant(models.Model):
    """A legal person (BIN) or sole trader (IIN), the account (IBAN) it is paid to, and when.

    ``payout_on`` is the day of the week (1 to 5) or of the month (1 to 31), 0 for every day.
    """

    class PayoutEvery(models.TextChoices):
        """How often it is paid; the values of ``settlement.calendar.Every``."""

        DAY = "day"
        WEEK = "week"
        MONTH = "month"

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    legal_name = models.CharField(max_length=200)
    bin_or_iin = models.CharField(max_length=12, validators=[validate_bin_or_iin])
    iban = models.CharField(max_length=20, validators=[validate_iban])
    kbe = models.CharField(max_length=2, default="17", help_text="residency and sector")
    knp = models.CharField(max_length=3, default="710", help_text="code of a payment's purpose")
    payout_every = models.CharField(
        max_length=5, choices=PayoutEvery.choices, default=PayoutEvery.DAY
    )
    payout_on = models.PositiveSmallIntegerField(default=0, help_text="of the week or month")
    payout_minimum_tiyn = models.BigIntegerField(default=100)

    class Meta:
        constraints: ClassVar = [
            models.CheckConstraint(
                condition=models.Q(payout_every="day", payout_on=0)
                | models.Q(payout_every="week", payout_on__range=(1, 5))
                | models.Q(payout_every="month", payout_on__range=(1, 31)),
                name="merchant_payout_day",
            ),
            models.CheckConstraint(
                condition=models.Q(payout_minimum_tiyn__gt=0), name="merchant_payout_minimum"
            ),
        ]

    @override
    def __str__(self) -> str:
        return self.legal_name


class Shop(models.Model):
    """A point of sale; only an approved one issues invoices."""

    class Status(models.TextChoices):
        """How far the city's officials are with it."""

        PENDING = "pending"
        APPROVED = "approved"
        SUSPENDED = "suspended"

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    merchant = models.ForeignKey(Merchant, models.PROTECT, related_name="shops")
    name = models.CharField(max_length=100)
    status = models.CharField(max_length=10, choices=Status.choices, default=Status.PENDING)

    class Meta:
        ordering: ClassVar = ["name"]

    @override
    def __str__(self) -> str:
        return self.name
