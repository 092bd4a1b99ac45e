"""What happened, for whoever must be told, and how far the chains' changes were read."""

import uuid
from typing import ClassVar

from django.db import models
from typing_extensions import override

from merchants.models.invoices import Invoice
from merchants.models.shops import Shop


class OutboxEvent(models.Model):
    """One change of one invoice, or else of a shop, written in the transaction that made it."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    invoice = models.ForeignKey(Invoice, models.PROTECT, null=True, related_name="events")
    shop = models.ForeignKey(Shop, models.PROTECT, null=True, related_name="events")
    type = models.CharField(max_length=40)
    payload = models.JSONField(default=dict)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering: ClassVar = ["created_at"]
        constraints: ClassVar = [
            models.CheckConstraint(
                condition=models.Q(invoice=None, shop__isnull=False)
                | models.Q(invoice__isnull=False, shop=None),
                name="event_of_invoice_or_shop",
            )
        ]

    @override
    def __str__(self) -> str:
        return self.type


class TransferCursor(models.Model):
    """The last revision of a network's transfers that was applied to invoices."""

    network = models.CharField(max_length=60, unique=True)
    revision = models.BigIntegerField(default=0)

    @override
    def __str__(self) -> str:
        return f"{self.network} at {self.revision}"


class QuarantinedTransfer(models.Model):
    """A transfer that could not be applied to its invoice; it waits for people, not for luck."""

    identity = models.CharField(max_length=200, unique=True, help_text="the on-chain output")
    network = models.CharField(max_length=60)
    reference = models.CharField(max_length=64)
    reason = models.CharField(max_length=500)
    attempts = models.PositiveIntegerField(default=1)
    quarantined_at = models.DateTimeField(auto_now_add=True)
    tried_at = models.DateTimeField(auto_now_add=True)
    resolved_at = models.DateTimeField(null=True)

    class Meta:
        indexes: ClassVar = [
            models.Index(
                fields=["id"], condition=models.Q(resolved_at=None), name="quarantine_open"
            )
        ]

    @override
    def __str__(self) -> str:
        return self.identity
