"""What was seen on chain. Facts stay; only states flip, and every flip gets a revision."""

from typing import ClassVar

from django.contrib.postgres.indexes import HashIndex
from django.db import models
from typing_extensions import override


class TransferState(models.TextChoices):
    """How sure a transfer is."""

    SEEN = "seen"
    INCLUDED = "included"
    FINAL = "final"
    DROPPED = "dropped"
    REPLACED = "replaced"


class Cursor(models.Model):
    """The last block that was applied, and the last revision given out, for one network."""

    network = models.CharField(max_length=60, unique=True, help_text="CAIP-2")
    height = models.BigIntegerField()
    hash = models.CharField(max_length=64)
    revision = models.BigIntegerField(default=0)
    caught_up_at = models.DateTimeField(
        null=True, help_text="when the tip was last reached; before that we may be blind"
    )

    @override
    def __str__(self) -> str:
        return f"{self.network} at {self.height}"


class Block(models.Model):
    """A block that was applied; after a reorg two stand at one height, one of them canonical."""

    network = models.CharField(max_length=60)
    height = models.BigIntegerField()
    hash = models.CharField(max_length=64)
    parent_hash = models.CharField(max_length=64)
    time = models.DateTimeField()
    canonical = models.BooleanField(default=True)

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["network", "hash"], name="block_unique"),
            models.UniqueConstraint(
                fields=["network", "height"],
                condition=models.Q(canonical=True),
                name="block_one_canonical",
            ),
        ]

    @override
    def __str__(self) -> str:
        return f"{self.height} {self.hash}"


class Address(models.Model):
    """An address that was given out: watched for ever, never given out twice."""

    network = models.CharField(max_length=60)
    text = models.CharField(max_length=100)
    script = models.BinaryField(help_text="scriptPubKey, or the 20 bytes of an EVM address")
    reference = models.CharField(max_length=64, help_text="the caller's own name for it")
    wallet = models.CharField(max_length=64, blank=True, default="")
    index = models.PositiveIntegerField(null=True)
    salt = models.BinaryField(null=True)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        verbose_name_plural = "addresses"
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["network", "script"], name="address_unique"),
            models.UniqueConstraint(fields=["network", "reference"], name="address_one_each"),
            models.UniqueConstraint(
                fields=["network", "wallet", "index"], name="address_index_once"
            ),
        ]
        indexes: ClassVar = [HashIndex(fields=["text"], name="address_by_text")]

    @override
    def __str__(self) -> str:
        return self.text


class Transfer(models.Model):
    """Value that reached one of our addresses: one row for each on-chain output."""

    network = models.CharField(max_length=60)
    asset = models.CharField(max_length=120, help_text="CAIP-19")
    address = models.ForeignKey(Address, models.PROTECT, related_name="transfers")
    txid = models.CharField(max_length=64)
    position = models.CharField(max_length=40, help_text="out:<vout>, log:<ordinal>, call:<path>")
    variant = models.PositiveSmallIntegerField(
        default=0, help_text="another number for other facts after being mined again"
    )
    value = models.DecimalField(max_digits=78, decimal_places=0, help_text="base units")
    state = models.CharField(max_length=10, choices=TransferState)
    block = models.ForeignKey(Block, models.PROTECT, null=True, related_name="transfers")
    maturity = models.PositiveSmallIntegerField(
        default=0, help_text="confirmations needed beyond policy: 100 for a coinbase"
    )
    revision = models.BigIntegerField()
    replaced_by = models.CharField(max_length=64, blank=True, default="")
    first_seen_at = models.DateTimeField(help_text="when it could first have been seen")

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["network", "txid", "position", "variant"], name="transfer_variant_once"
            ),
            models.UniqueConstraint(
                fields=["network", "txid", "position"],
                condition=models.Q(state__in=["seen", "included", "final"]),
                name="transfer_once_per_output",
            ),
            models.CheckConstraint(condition=models.Q(value__gt=0), name="transfer_positive"),
        ]
        indexes: ClassVar = [
            models.Index(fields=["network", "revision"], name="transfer_changes"),
            models.Index(
                fields=["network", "state"],
                condition=models.Q(state__in=["seen", "included"]),
                name="transfer_unsettled",
            ),
        ]

    @override
    def __str__(self) -> str:
        return f"{self.txid} {self.position}"


class Spend(models.Model):
    """An outpoint that a transaction paying us spends: another that spends it takes its place."""

    network = models.CharField(max_length=60)
    outpoint = models.BinaryField(help_text="txid as hashed, and vout: 36 bytes")
    txid = models.CharField(max_length=64)

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["network", "outpoint", "txid"], name="spend_once")
        ]

    @override
    def __str__(self) -> str:
        return self.txid


class Inclusion(models.Model):
    """That a transfer stood in a block; a reorg adds a row and removes none."""

    transfer = models.ForeignKey(Transfer, models.PROTECT, related_name="inclusions")
    block = models.ForeignKey(Block, models.PROTECT, related_name="inclusions")

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["transfer", "block"], name="inclusion_once")
        ]

    @override
    def __str__(self) -> str:
        return f"{self.transfer_id} in {self.block_id}"
