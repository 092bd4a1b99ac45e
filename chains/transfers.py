"""What reached our addresses, for whoever asks: by reference or address, or as a stream of changes.

Another program may pull the same stream: keep the last revision of each network that was read, ask
for what changed since, and treat an identity that comes again as the same output in a new state.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime

from django.db.models import Count, QuerySet, Sum

from chains.models import Cursor, Inclusion, Transfer, TransferState

__all__ = [
    "InclusionFact",
    "TransferFact",
    "TransferState",
    "TransferTotal",
    "caught_up_at",
    "changes_since",
    "inclusions_of",
    "last_revision",
    "newest_transfers_of",
    "totals_of",
    "transfer_named",
    "transfers_of",
    "transfers_to",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class TransferFact:
    """One on-chain output that pays one of our addresses; ``value`` in the asset's base units.

    ``first_seen_at`` is when it could first have been seen, ``included_at`` its block's own time;
    both UTC.
    """

    revision: int
    network: str
    asset: str
    address: str
    reference: str
    txid: str
    position: str
    variant: int
    value: int
    state: TransferState
    confirmations: int
    first_seen_at: datetime
    included_at: datetime | None
    replaced_by: str

    @property
    def identity(self) -> str:
        """The output's name across all networks; a later variant adds its number."""
        name = f"{self.network}/{self.txid}/{self.position}"
        return f"{name}~{self.variant}" if self.variant else name


@dataclass(frozen=True, slots=True, kw_only=True)
class InclusionFact:
    """That an output stood in a block; ``canonical`` is False once a reorganisation left it."""

    height: int
    block_hash: str
    block_time: datetime
    canonical: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class TransferTotal:
    """How many transfers came in one asset, and what they come to in its base units."""

    asset: str
    count: int
    value: int


def changes_since(*, network: str, revision: int, limit: int = 500) -> list[TransferFact]:
    """Transfers whose state moved after ``revision``, oldest first.

    Revisions of one network grow in commit order, so a reader that keeps the last one misses none.
    """
    rows = Transfer.objects.filter(network=network, revision__gt=revision)
    return _facts(rows.order_by("revision")[:limit])


def transfers_of(*, references: Sequence[str]) -> list[TransferFact]:
    """Every transfer to the addresses of some references, oldest first."""
    return _facts(Transfer.objects.filter(address__reference__in=references).order_by("pk"))


def newest_transfers_of(
    *, references: Sequence[str], states: Collection[TransferState], limit: int
) -> list[TransferFact]:
    """The last few transfers to the addresses of some references, oldest first."""
    rows = Transfer.objects.filter(address__reference__in=references, state__in=states)
    return _facts(rows.order_by("-pk")[:limit])[::-1]


def totals_of(
    *, references: Sequence[str], states: Collection[TransferState]
) -> list[TransferTotal]:
    """What the addresses of some references received, by asset: as cheap after a flood (R26)."""
    rows = Transfer.objects.filter(address__reference__in=references, state__in=states)
    sums = rows.order_by("asset").values_list("asset").annotate(Count("pk"), Sum("value"))
    return [
        TransferTotal(asset=asset, count=count, value=int(value)) for asset, count, value in sums
    ]


def transfer_named(identity: str) -> TransferFact | None:
    """The transfer of an identity, or None; ValueError for what is none."""
    name, _, variant = identity.partition("~")
    network, txid, position = name.split("/", 2)
    rows = Transfer.objects.filter(network=network, txid=txid, position=position)
    return next(iter(_facts(rows.filter(variant=int(variant or 0)))), None)


def transfers_to(*, network: str, address: str) -> list[TransferFact]:
    """Every transfer to an address as a wallet writes it, oldest first; none for a stranger's."""
    rows = Transfer.objects.filter(network=network, address__text=address)
    return _facts(rows.order_by("pk"))


def inclusions_of(fact: TransferFact) -> list[InclusionFact]:
    """Every block that a transfer ever stood in, oldest inclusion first: nothing is overwritten."""
    rows = Inclusion.objects.filter(
        transfer__network=fact.network,
        transfer__txid=fact.txid,
        transfer__position=fact.position,
        transfer__variant=fact.variant,
    )
    return [
        InclusionFact(
            height=row.block.height,
            block_hash=row.block.hash,
            block_time=row.block.time,
            canonical=row.block.canonical,
        )
        for row in rows.select_related("block").order_by("pk")
    ]


def caught_up_at(*, network: str) -> datetime | None:
    """When the network's tip was last reached, UTC; None before the first time."""
    rows = Cursor.objects.filter(network=network)
    return rows.values_list("caught_up_at", flat=True).first()


def last_revision(*, network: str) -> int:
    """The last revision given to a change of the network's transfers."""
    rows = Cursor.objects.filter(network=network)
    return rows.values_list("revision", flat=True).first() or 0


def _facts(rows: QuerySet[Transfer]) -> list[TransferFact]:
    tips = dict(Cursor.objects.values_list("network", "height"))
    return [
        TransferFact(
            revision=row.revision,
            network=row.network,
            asset=row.asset,
            address=row.address.text,
            reference=row.address.reference,
            txid=row.txid,
            position=row.position,
            variant=row.variant,
            value=int(row.value),
            state=TransferState(row.state),
            confirmations=tips[row.network] - row.block.height + 1 if row.block else 0,
            first_seen_at=row.first_seen_at,
            included_at=row.block.time if row.block else None,
            replaced_by=row.replaced_by,
        )
        for row in rows.select_related("address", "block")
    ]
