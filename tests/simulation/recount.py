"""What the chains really hold, counted from the model alone: the other side of every equality."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction

from tests.simulation.chain import Block, Pay, Tx
from tests.simulation.world import World

COINBASE_MATURITY = 100


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class Held:
    """One output to an address of the city, as the best chain has it."""

    network: str
    txid: str
    position: str
    asset: str
    script: bytes
    value: int


def paid_by(world: World, caip2: str, tx: Tx) -> list[Held]:
    """What a transaction that waits means to pay to addresses that payers were shown."""
    ours = {bill.script for bill in world.bills if bill.network == caip2}
    return [_held(caip2, tx, pay) for pay in tx.moods[0].pays if pay.script in ours]


def held_in(world: World, caip2: str, block: Block) -> Iterator[tuple[Tx, Held]]:
    """The outputs of one block that pay an address that a payer was shown."""
    ours = {bill.script for bill in world.bills if bill.network == caip2}
    for tx, mood in block.mined:
        for pay in mood.pays:
            if pay.script in ours and pay.value > 0:
                yield tx, _held(caip2, tx, pay)


def held(world: World, caip2: str) -> list[tuple[Tx, Held]]:
    """The outputs of the best chain that pay an address that a payer was shown."""
    blocks = reversed(list(world.chains[caip2].best.branch()))
    return [one for block in blocks for one in held_in(world, caip2, block)]


def spender_in(world: World, caip2: str, claim: bytes) -> str | None:
    """The txid that holds a claim in the best chain."""
    return world.chains[caip2].best.taken.get(claim)


def worth_tiyn(
    quantities: Mapping[str, int], prices: Mapping[str, tuple[Fraction, int]]
) -> Fraction:
    """Tiyn, unrounded, of quantities by asset at (tiyn for a whole coin, decimals) by asset."""
    return sum(
        (
            quantity * prices[asset][0] / 10 ** prices[asset][1]
            for asset, quantity in quantities.items()
        ),
        start=Fraction(0),
    )


def _held(caip2: str, tx: Tx, pay: Pay) -> Held:
    return Held(
        network=caip2,
        txid=tx.txid,
        position=pay.position,
        asset=pay.asset,
        script=pay.script,
        value=pay.value,
    )
