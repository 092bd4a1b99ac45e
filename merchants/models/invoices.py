"""What a shop asked for, what it costs in each coin, and what came."""

import secrets
import uuid
from typing import ClassVar

from django.db import models
from typing_extensions import override

from merchants.models.shops import Shop


def new_token() -> str:
    """A public name that cannot be guessed: 128 random bits (R109)."""
    return secrets.token_urlsafe(16)


class Invoice(models.Model):
    """A demand in tenge; its states' edges stand in ``merchants.states``."""

    class Status(models.TextChoices):
        """Where the invoice stands."""

        NEW = "new"
        PROCESSING = "processing"
        SETTLED = "settled"
        EXPIRED = "expired"
        REVERSED = "reversed"

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    token = models.CharField(max_length=32, unique=True, default=new_token, editable=False)
    shop = models.ForeignKey(Shop, models.PROTECT, related_name="invoices")
    amount_tiyn = models.BigIntegerField()
    description = models.CharField(max_length=200, blank=True, default="")
    order_id = models.CharField(max_length=100, blank=True, default="")
    status = models.CharField(max_length=10, choices=Status.choices, default=Status.NEW)
    created_at = models.DateTimeField(auto_now_add=True)
    expires_at = models.DateTimeField(help_text="payments must be seen before this")
    confirm_by = models.DateTimeField(help_text="and stand in a block before this")
    settled_at = models.DateTimeField(null=True)

    class Meta:
        constraints: ClassVar = [
            models.CheckConstraint(condition=models.Q(amount_tiyn__gt=0), name="invoice_positive")
        ]
        indexes: ClassVar = [
            models.Index(
                fields=["expires_at"],
                condition=models.Q(status__in=["new", "processing"]),
                name="invoice_open",
            )
        ]

    @override
    def __str__(self) -> str:
        return self.token


class PaymentOption(models.Model):
    """One asset that the invoice may be paid in; it gets an address when the payer chooses it."""

    invoice = models.ForeignKey(Invoice, models.CASCADE, related_name="options")
    asset = models.CharField(max_length=120, help_text="CAIP-19")
    symbol = models.CharField(max_length=40, help_text="as listed when the invoice was issued")
    network = models.CharField(max_length=60, help_text="CAIP-2")
    quote = models.OneToOneField("settlement.Quote", models.PROTECT, related_name="+")
    quantity = models.DecimalField(max_digits=78, decimal_places=0, help_text="base units due")
    address = models.CharField(max_length=100, blank=True, default="")

    class Meta:
        ordering: ClassVar = ["pk"]
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["invoice", "asset"], name="option_once_per_asset")
        ]

    @override
    def __str__(self) -> str:
        return f"{self.invoice_id} {self.asset}"


class InvoicePayment(models.Model):
    """What one transfer means for its invoice, as last applied."""

    invoice = models.ForeignKey(Invoice, models.PROTECT, related_name="payments")
    identity = models.CharField(max_length=200, unique=True, help_text="the on-chain output")
    asset = models.CharField(max_length=120)
    txid = models.CharField(max_length=64)
    quantity = models.DecimalField(max_digits=78, decimal_places=0)
    state = models.CharField(max_length=10)
    on_time = models.BooleanField(default=True)
    booked = models.BooleanField(default=False, help_text="it stands in the ledger")

    class Meta:
        ordering: ClassVar = ["pk"]

    @override
    def __str__(self) -> str:
        return self.identity
