"""What sweeps came to, for the ledger; and how the gas payer does, for whoever watches."""

from dataclasses import dataclass
from datetime import datetime

from chains.assets import Network
from chains.evm.sweeps import SweepChain
from chains.models import Sweep, SweepState
from chains.pool import NodePool
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
