"""What is swept from deposit addresses to the treasury, and by which transactions."""

from typing import ClassVar

from django.db import models
from django.db.models.functions import Now
from typing_extensions import override


class SweepState(models.TextChoices):
    """How far a sweep is: planned, signed and under way, in a block, or ended."""

    PLANNED = "planned"
    SENT = "sent"
    MINED = "mined"
    DONE = "done"
    REVERTED = "reverted"
    LOST = "lost"


class Sweep(models.Model):
    """One transaction that moves one asset from forwarders to the treasury they were made for.

    Sweeps of one ``plan`` were planned, and are sent, together. From the moment that it is signed a
    sweep keeps its nonce for ever, so that at most one of its attempts can be mined. ``done`` and
    ``reverted`` are final on chain; ``lost`` says that another transaction used the nonce.
    """

    plan = models.UUIDField(db_index=True)
    network = models.CharField(max_length=60, help_text="CAIP-2")
    asset = models.CharField(max_length=120, help_text="CAIP-19")
    factory = models.CharField(max_length=42)
    treasury = models.CharField(max_length=42)
    state = models.CharField(max_length=10, choices=SweepState, default=SweepState.PLANNED)
    planned_at = models.DateTimeField(db_default=Now(), editable=False)
    gas_limit = models.PositiveBigIntegerField()
    gas_estimate = models.PositiveBigIntegerField()
    fee_wei_per_gas = models.PositiveBigIntegerField(help_text="what planning expected to pay")
    fee_wei_per_gas_max = models.PositiveBigIntegerField(help_text="what it may cost at most")
    sender = models.CharField(max_length=42, blank=True, default="")
    nonce = models.PositiveBigIntegerField(null=True)
    note = models.CharField(max_length=200, blank=True, default="", help_text="what holds it up")
    txid = models.CharField(max_length=64, blank=True, default="", help_text="the mined attempt")
    block_height = models.BigIntegerField(null=True)
    block_hash = models.CharField(max_length=64, blank=True, default="")
    block_time = models.DateTimeField(null=True)
    gas_used = models.PositiveBigIntegerField(null=True)
    fee_wei = models.DecimalField(
        max_digits=78, decimal_places=0, null=True, help_text="paid for gas, all in all"
    )
    booked = models.BooleanField(default=False, help_text="its end was told to the ledger")

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["network", "sender", "nonce"], name="sweep_nonce_once"),
            models.CheckConstraint(
                condition=models.Q(state="planned", nonce=None)
                | (~models.Q(state="planned") & models.Q(nonce__isnull=False)),
                name="sweep_sent_has_nonce",
            ),
            models.CheckConstraint(
                condition=models.Q(state__in=["planned", "sent", "lost"], txid="")
                | (
                    models.Q(state__in=["mined", "done", "reverted"])
                    & ~models.Q(txid="")
                    & models.Q(fee_wei__isnull=False, block_height__isnull=False)
                ),
                name="sweep_mined_has_receipt",
            ),
        ]
        indexes: ClassVar = [
            models.Index(
                fields=["network", "nonce"],
                condition=models.Q(state__in=["sent", "mined"]),
                name="sweep_under_way",
            ),
            models.Index(
                fields=["network"],
                condition=models.Q(state__in=["done", "reverted"], booked=False),
                name="sweep_unbooked",
            ),
        ]

    @override
    def __str__(self) -> str:
        return f"{self.asset} {self.state}"


class SweepItem(models.Model):
    """One address of a sweep; while ``live``, no other sweep may hold it for the same asset."""

    sweep = models.ForeignKey(Sweep, models.PROTECT, related_name="items")
    address = models.ForeignKey("chains.Address", models.PROTECT, related_name="sweep_items")
    asset = models.CharField(max_length=120, help_text="CAIP-19")
    value = models.DecimalField(max_digits=78, decimal_places=0, help_text="held when planned")
    swept = models.DecimalField(
        max_digits=78, decimal_places=0, null=True, help_text="what left it, once that is final"
    )
    live = models.BooleanField(default=False)

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["sweep", "address"], name="sweep_item_once"),
            models.UniqueConstraint(
                fields=["address", "asset"],
                condition=models.Q(live=True),
                name="sweep_address_in_one",
            ),
        ]

    @override
    def __str__(self) -> str:
        return f"{self.value} of {self.asset}"


class SweepAttempt(models.Model):
    """A signed transaction of a sweep: stored before it is sent, never changed, never deleted."""

    sweep = models.ForeignKey(Sweep, models.PROTECT, related_name="attempts")
    txid = models.CharField(max_length=64, unique=True)
    raw = models.BinaryField()
    fee_wei_per_gas = models.PositiveBigIntegerField()
    tip_wei_per_gas = models.PositiveBigIntegerField()
    signed_at = models.DateTimeField(db_default=Now(), editable=False)

    @override
    def __str__(self) -> str:
        return self.txid
