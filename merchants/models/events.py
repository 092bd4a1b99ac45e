"""What happened, for whoever must be told, and how far the chains' changes were read."""

import uuid
from typing import ClassVar

from django.db import models
from typing_extensions import override

from merchants.models.invoices import Invoice


class OutboxEvent(models.Model):
    """One change of one invoice, written in the transaction that made it."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    invoice = models.ForeignKey(Invoice, models.PROTECT, related_name="events")
    type = models.CharField(max_length=40)
    payload = models.JSONField(default=dict)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering: ClassVar = ["created_at"]

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
