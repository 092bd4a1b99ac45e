"""Who sells: a legal person or sole trader, and its shops."""

import uuid
from typing import ClassVar

from django.db import models
from typing_extensions import override

from settlement.identifiers import validate_bin_or_iin, validate_iban


class Merchant(models.Model):
    """A legal person (BIN) or sole trader (IIN) and the account (IBAN) it is paid to."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    legal_name = models.CharField(max_length=200)
    bin_or_iin = models.CharField(max_length=12, validators=[validate_bin_or_iin])
    iban = models.CharField(max_length=20, validators=[validate_iban])

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
