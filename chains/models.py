"""What was seen on chain. Facts stay; only states flip, and every flip gets a revision."""

from typing import ClassVar, Final

from django.contrib.postgres.indexes import HashIndex
from django.db import models
from typing_extensions import override

from chains.sweep_models import Sweep, SweepAttempt, SweepItem, SweepState

__all__ = [
    "MINED",
    "Address",
    "Alert",
    "AssetCursor",
    "Block",
    "Cursor",
    "Deployment",
    "Finality",
    "Inclusion",
    "NodeHealth",
    "Outflow",
    "ReceivingWallet",
    "Spend",
    "Sweep",
    "SweepAttempt",
    "SweepItem",
    "SweepState",
    "Transfer",
    "TransferState",
]


class TransferState(models.TextChoices):
    """How sure a transfer is."""

    SEEN = "seen"
    INCLUDED = "included"
    FINAL = "final"
    DROPPED = "dropped"
    REPLACED = "replaced"


MINED: Final = (TransferState.INCLUDED, TransferState.FINAL)


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


class AssetCursor(models.Model):
    """The last block in which an asset was looked for; behind the network's cursor, it catches up.

    A token that was listed late, or halted for a while, has a gap that is read again (R54).
    """

    network = models.CharField(max_length=60)
    asset = models.CharField(max_length=120, unique=True, help_text="CAIP-19")
    height = models.BigIntegerField()
    checked_at = models.DateTimeField(null=True, help_text="when its contract was last asked")
    halted = models.CharField(max_length=200, blank=True, default="", help_text="why, if it is")
    decimals = models.PositiveSmallIntegerField(
        null=True, help_text="what its amounts were first read with"
    )

    @override
    def __str__(self) -> str:
        return f"{self.asset} at {self.height}"


class NodeHealth(models.Model):
    """How one endpoint of a network did when a scan last told of it."""

    network = models.CharField(max_length=60)
    position = models.PositiveSmallIntegerField(help_text="its place in the registry's order")
    endpoint = models.CharField(max_length=260, help_text="host and port alone")
    speaks = models.BooleanField()
    tip_height = models.BigIntegerField(null=True)
    agreed_height = models.BigIntegerField(null=True)
    latency_ms = models.PositiveIntegerField(null=True)
    is_up = models.BooleanField()
    last_error = models.TextField(blank=True, default="")
    last_error_at = models.DateTimeField(null=True)
    told_at = models.DateTimeField()

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["network", "position"], name="health_once_per_endpoint")
        ]

    @override
    def __str__(self) -> str:
        return self.endpoint


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


class Deployment(models.Model):
    """The contracts that EVM addresses were computed for: what is there can be swept by them only.

    A row for each set that the registry ever named; all as EIP-55 writes them.
    """

    network = models.CharField(max_length=60)
    factory = models.CharField(max_length=42)
    forwarder = models.CharField(max_length=42)
    treasury = models.CharField(max_length=42)

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["network", "factory", "forwarder", "treasury"], name="deployment_once"
            )
        ]

    @override
    def __str__(self) -> str:
        return f"{self.network} {self.treasury}"


class ReceivingWallet(models.Model):
    """A Bitcoin account's public key, whose it is, and the next of its addresses."""

    network = models.CharField(max_length=60)
    owner = models.CharField(max_length=64)
    fingerprint = models.CharField(
        max_length=64, unique=True, help_text="SHA-256 of chain code and public key"
    )
    descriptor = models.CharField(max_length=250, help_text="public, with its checksum")
    next_index = models.PositiveIntegerField()
    created_at = models.DateTimeField(auto_now_add=True)

    @override
    def __str__(self) -> str:
        return f"{self.owner} {self.fingerprint[:16]}"


class Address(models.Model):
    """An address that was given out: watched for ever, never given out twice."""

    network = models.CharField(max_length=60)
    text = models.CharField(max_length=100)
    script = models.BinaryField(help_text="scriptPubKey, or the 20 bytes of an EVM address")
    reference = models.CharField(max_length=64, help_text="the caller's own name for it")
    wallet = models.CharField(
        max_length=64, blank=True, default="", help_text="a receiving wallet's fingerprint"
    )
    index = models.PositiveIntegerField(null=True)
    salt = models.BinaryField(null=True)
    deployment = models.ForeignKey(
        Deployment, models.PROTECT, null=True, related_name="addresses", help_text="EVM only"
    )
    watch_until = models.DateTimeField(
        null=True, help_text="until when a payment is waited for; looked at more often until then"
    )
    balance_height = models.BigIntegerField(
        null=True,
        help_text="the final block up to which its coins were counted by balance; null for an "
        "address whose coins are found in blocks: never both (R57)",
    )
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        verbose_name_plural = "addresses"
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["network", "script"], name="address_unique"),
            # The reference first: who asks for an invoice's payments names no network.
            models.UniqueConstraint(fields=["reference", "network"], name="address_one_each"),
            models.UniqueConstraint(
                fields=["network", "wallet", "index"], name="address_index_once"
            ),
        ]
        indexes: ClassVar = [
            HashIndex(fields=["text"], name="address_by_text"),
            models.Index(
                models.F("network"),
                models.F("balance_height").asc(nulls_first=True),
                condition=models.Q(deployment__isnull=False),
                name="address_by_balance",
            ),
            models.Index(fields=["network", "watch_until"], name="address_watched"),
            # Every output of every block is looked up here: a hash is found in one page.
            HashIndex(fields=["script"], name="address_by_script"),
        ]

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
    swept = models.BooleanField(
        default=False,
        db_default=False,
        help_text="a final sweep took it; a mark that is missing costs time, never coins",
    )

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
                condition=models.Q(state__in=["seen", "included", "dropped"]),
                name="transfer_unsettled",
            ),
            # What was swept is in no plan's way, however much there ever was.
            models.Index(
                fields=["asset", "address"],
                condition=models.Q(state="final", swept=False, network__startswith="eip155:"),
                name="transfer_unswept",
            ),
        ]

    @override
    def __str__(self) -> str:
        return f"{self.txid} {self.position}"


class Spend(models.Model):
    """An outpoint that a transaction paying us spends: another that spends it takes its place.

    Only a transaction that is not mined can be replaced, and few are: what is looked up for every
    block is small, however many payments there ever were.
    """

    network = models.CharField(max_length=60)
    outpoint = models.BinaryField(help_text="txid as hashed, and vout: 36 bytes")
    txid = models.CharField(max_length=64)
    is_mined = models.BooleanField(default=False, help_text="in a block that counts")

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["network", "outpoint", "txid"], name="spend_once")
        ]
        indexes: ClassVar = [
            HashIndex(
                fields=["outpoint"], name="spend_unmined", condition=models.Q(is_mined=False)
            ),
            HashIndex(fields=["txid"], name="spend_by_txid"),
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


class Outflow(models.Model):
    """What a sweep took from one of our addresses, in one block; counts while that is canonical."""

    address = models.ForeignKey(Address, models.PROTECT, related_name="outflows")
    block = models.ForeignKey(Block, models.PROTECT, related_name="outflows")
    asset = models.CharField(max_length=120, help_text="CAIP-19")
    txid = models.CharField(max_length=64)
    position = models.CharField(max_length=40, help_text="log:<ordinal>")
    value = models.DecimalField(max_digits=78, decimal_places=0, help_text="base units")
    booked = models.BooleanField(
        default=False,
        db_default=False,
        help_text="the ledger was told, or is told by our own sweep",
    )

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["block", "txid", "position"], name="outflow_once")
        ]
        indexes: ClassVar = [
            models.Index(fields=["id"], condition=models.Q(booked=False), name="outflow_unbooked"),
        ]

    @override
    def __str__(self) -> str:
        return f"{self.value} of {self.asset} by {self.txid}"


class Finality(models.Model):
    """How far a network's finality is, and when it was last seen to move (R36)."""

    network = models.CharField(max_length=60, unique=True, help_text="CAIP-2")
    height = models.BigIntegerField()
    tip_height = models.BigIntegerField(help_text="when finality last moved")
    moved_at = models.DateTimeField()

    @override
    def __str__(self) -> str:
        return f"{self.network} final to {self.height}"


class Alert(models.Model):
    """Something that people must look at; what mends itself is closed by itself."""

    network = models.CharField(max_length=60, help_text="CAIP-2")
    kind = models.CharField(max_length=30)
    subject = models.CharField(max_length=120, help_text="an asset or an address")
    evidence = models.CharField(max_length=120, blank=True, default="", help_text="where it stands")
    detail = models.TextField()
    created_at = models.DateTimeField(auto_now_add=True)
    closed_at = models.DateTimeField(null=True)

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["network", "kind", "subject", "evidence"], name="alert_once"
            )
        ]
        indexes: ClassVar = [
            models.Index(
                fields=["network", "id"],
                condition=models.Q(closed_at=None),
                name="alert_open",
            )
        ]

    @override
    def __str__(self) -> str:
        return f"{self.kind}: {self.detail}"
