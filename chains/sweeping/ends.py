"""What sweeps came to, for the ledger; and how the gas payer does, for whoever watches."""

from dataclasses import dataclass
from datetime import datetime

from django.db.models import Sum

from chains import cursors
from chains.assets import Network
from chains.evm.sweeps import SweepChain
from chains.models import (
    MINED,
    Block,
    Cursor,
    Outflow,
    Sweep,
    SweepAttempt,
    SweepState,
    Transfer,
)
from chains.pool import NodePool
from chains.sweeping.holdings import mark_swept
from chains.sweeping.planning import policy_of

ENDED = (SweepState.DONE, SweepState.REVERTED)


@dataclass(frozen=True, slots=True, kw_only=True)
class SweepEnd:
    """A sweep's final outcome: ``moved`` base units reached the treasury, ``fee_wei`` was paid.

    ``mined_at`` is its block's time, UTC. A reverted sweep moved nothing and cost its gas.
    """

    id: int
    network: str
    asset: str
    txid: str
    moved: int
    fee_wei: int
    mined_at: datetime

    @property
    def identity(self) -> str:
        """The transaction's name across all networks."""
        return f"{self.network}/{self.txid}"


@dataclass(frozen=True, slots=True, kw_only=True)
class SweepByOthers:
    """Base units that somebody else's sweep took from an address of ours to its treasury, finally.

    Anybody may sweep a forwarder; it costs us no gas. ``mined_at`` is the block's time, UTC.
    """

    id: int
    network: str
    asset: str
    txid: str
    position: str
    moved: int
    mined_at: datetime

    @property
    def identity(self) -> str:
        """Its name across all networks."""
        return f"{self.network}/{self.txid}/{self.position}"


@dataclass(frozen=True, slots=True, kw_only=True)
class PayerHealth:
    """The gas payer's balance in wei against what the policy asks for, and what waits for it."""

    network: str
    address: str
    balance_wei: int
    balance_wei_min: int
    under_way: int

    @property
    def is_low(self) -> bool:
        """Whether it is to be topped up."""
        return self.balance_wei < self.balance_wei_min


def unbooked_ends(*, network: str, limit: int = 100) -> list[SweepEnd]:
    """Final sweeps that ``mark_booked`` was not told of, oldest first."""
    rows = Sweep.objects.filter(network=network, state__in=ENDED, booked=False)
    return [
        SweepEnd(
            id=row.pk,
            network=row.network,
            asset=row.asset,
            txid=row.txid,
            moved=sum(int(item.swept or 0) for item in row.items.all()),
            fee_wei=int(row.fee_wei or 0),
            mined_at=row.block_time,
        )
        for row in rows.prefetch_related("items").order_by("pk")[:limit]
        if row.block_time is not None
    ]


def mark_booked(*, sweep: int) -> bool:
    """Say that a final sweep's end stands in the ledger; False if that was said before.

    Call it in the transaction that books: of two callers the second waits, and then gets False.
    """
    rows = Sweep.objects.filter(pk=sweep, state__in=ENDED, booked=False)
    return rows.update(booked=True) == 1


def unbooked_by_others(
    *, network: Network, nodes: NodePool, limit: int = 500
) -> list[SweepByOthers]:
    """What others' sweeps moved, final on chain, that ``mark_outflow_booked`` was not told of.

    What our own sweeps moved is theirs to tell (``unbooked_ends``), and is marked as told here.
    Raises NodeError; asks no node where nothing waits.
    """
    waiting = Outflow.objects.filter(
        block__network=network.caip2, block__canonical=True, booked=False
    )
    if not waiting.exists():
        return []
    height = _final_height(network, nodes)
    final = waiting.filter(block__height__lte=height)
    rows = list(final.select_related("block").order_by("pk")[:limit])
    txids = {row.txid for row in rows}
    ours = set(SweepAttempt.objects.filter(txid__in=txids).values_list("txid", flat=True))
    told = [row.pk for row in rows if row.txid in ours]
    Outflow.objects.filter(pk__in=told).update(booked=True)
    return [
        SweepByOthers(
            id=row.pk,
            network=network.caip2,
            asset=row.asset,
            txid=row.txid,
            position=row.position,
            moved=int(row.value),
            mined_at=row.block.time,
        )
        for row in rows
        if row.txid not in ours
    ]


def mark_outflow_booked(*, outflow: int) -> bool:
    """Say that an outflow stands in the ledger; False if that was said before.

    What it emptied is left out of later plans. Call it in the transaction that books, as
    ``mark_booked``.
    """
    row = Outflow.objects.select_related("address", "block").get(pk=outflow)
    cursors.lock(row.block.network)
    rows = Outflow.objects.filter(pk=outflow, block__canonical=True, booked=False)
    if rows.update(booked=True) != 1:
        return False
    came = Transfer.objects.filter(
        address=row.address, asset=row.asset, swept=False, state__in=MINED
    ).filter(block__height__lt=row.block.height)
    if int(came.aggregate(total=Sum("value"))["total"] or 0) <= row.value:
        mark_swept(asset=row.asset, address=row.address, height=row.block.height)
    return True


def payer_health(*, network: Network, nodes: NodePool, payer: str) -> PayerHealth:
    """How much the gas payer has left. Raises SweepRefusedError, NodeError."""
    policy = policy_of(network)
    return PayerHealth(
        network=network.caip2,
        address=payer,
        balance_wei=SweepChain(network=network, nodes=nodes).balance_now(payer),
        balance_wei_min=policy.payer_wei_min,
        under_way=Sweep.objects.filter(
            network=network.caip2, state__in=[SweepState.SENT, SweepState.MINED]
        ).count(),
    )


def _final_height(network: Network, nodes: NodePool) -> int:
    """How far what was scanned is final; -1 while the nodes' final block is not one of ours."""
    cursor = Cursor.objects.filter(network=network.caip2).first()
    if cursor is None:
        return -1
    block = SweepChain(network=network, nodes=nodes).final_block(height_max=cursor.height)
    ours = Block.objects.filter(network=network.caip2, hash=block.hash, canonical=True)
    return block.height if ours.exists() else -1
