"""Store blocks that came, and take back those that the chain left.

Every function here runs inside a transaction that holds the network's lock and its cursor
(``chains.cursors``).
"""

from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from dataclasses import replace
from datetime import datetime

from chains.cursors import move_assets
from chains.finding import Findings
from chains.models import (
    MINED,
    Address,
    AssetCursor,
    Block,
    Cursor,
    Outflow,
    Transfer,
    TransferState,
)
from chains.nodes import BlockRef, Output
from chains.storing import flip, mark_spends, replace_by, store
from chains.telling import tell_of_notices, tell_of_strays, tell_of_untraced


def keep_block(network: str, ref: BlockRef) -> Block:
    """Store a block of the best chain; one that a reorganisation brought back counts again."""
    block, _created = Block.objects.update_or_create(
        network=network,
        hash=ref.hash,
        defaults={"canonical": True},
        create_defaults={
            "canonical": True,
            "height": ref.height,
            "parent_hash": ref.parent_hash,
            "time": ref.time,
        },
    )
    return block


def apply_block(
    cursor: Cursor, found: Findings, now: datetime, *, assets: AbstractSet[str]
) -> None:
    """Store the block after the cursor and what was found in it; move the cursor.

    ``now`` is the database's clock; ``assets`` are what the block was read for.
    """
    ref = found.ref
    # What is found now was not to be seen when we last saw everything; since then, the block's
    # own clock is the best witness of when it could be (R15, R71).
    _take_in(cursor, found, min(now, max(cursor.caught_up_at or ref.time, ref.time)))
    move_assets(cursor.network, assets, cursor.height, ref.height)
    cursor.height, cursor.hash = ref.height, ref.hash


def apply_again(cursor: Cursor, found: Findings, now: datetime) -> int:
    """Store what is missing of a block up to the cursor, which stays; return how many rows moved.

    What was missed is our fault, so the payer's time is the block's.
    """
    before = cursor.revision
    found = replace(found, outputs=_counted_the_same_way(cursor.network, found.outputs))
    _take_in(cursor, found, min(now, found.ref.time))
    return Transfer.objects.filter(network=cursor.network, revision__gt=before).count()


def apply_missed(
    cursor: Cursor, blocks: Sequence[Findings], now: datetime, *, assets: AbstractSet[str]
) -> bool:
    """Store what some consecutive blocks pay in ``assets`` that they were not read for before.

    Returns False, and stores nothing, where the last of them is not on our best chain (the caller
    has seen that they follow each other) or another has read them meanwhile.
    """
    first, last = blocks[0].ref, blocks[-1].ref
    if not Block.objects.filter(network=cursor.network, hash=last.hash, canonical=True).exists():
        return False
    if not move_assets(cursor.network, assets, first.height - 1, last.height):
        return False
    for found in blocks:
        if found.outputs or found.outflows:
            # It may stand below the first that was scanned, if start_height was lowered since.
            block = keep_block(cursor.network, found.ref)
            seen_at = min(now, found.ref.time)
            store(cursor, found.outputs, found.ours, block=block, seen_at=seen_at)
            _store_outflows(found, block)
        _tell(cursor.network, found)
    return True


def store_delta(cursor: Cursor, address: Address, output: Output, block: Block) -> None:
    """Store what a balance has grown by in a final block of ours (R57); ``block`` dates it."""
    ours = {output.script: address}
    store(cursor, [output], ours, block=block, seen_at=block.time)


def undo_blocks(cursor: Cursor, fork: Block) -> int:
    """Take back every block above ``fork`` and move the cursor there; return how many.

    Their transfers wait to be mined again until the mempool or a block says otherwise (R1).
    """
    orphans = Block.objects.filter(network=cursor.network, canonical=True, height__gt=fork.height)
    waiting = Transfer.objects.filter(block__in=orphans.values("pk"))
    waiting.filter(swept=True).update(swept=False)
    mark_spends(cursor.network, set(waiting.values_list("txid", flat=True)), mined=False)
    flip(cursor, waiting, state=TransferState.SEEN, block=None)
    AssetCursor.objects.filter(network=cursor.network, height__gt=fork.height).update(
        height=fork.height
    )
    counted = Address.objects.filter(network=cursor.network, balance_height__gt=fork.height)
    counted.update(balance_height=fork.height)
    cursor.height, cursor.hash = fork.height, fork.hash
    return orphans.update(canonical=False)


def _take_in(cursor: Cursor, found: Findings, seen_at: datetime) -> None:
    block = keep_block(cursor.network, found.ref)
    store(cursor, found.outputs, found.ours, block=block, seen_at=seen_at)
    _store_outflows(found, block)
    _tell(cursor.network, found)
    for txid, spender in found.conflicts:
        replace_by(cursor, txid, spender)


def _counted_the_same_way(network: str, outputs: Sequence[Output]) -> list[Output]:
    """Without a coin's movements that were counted in another way before ``native`` was changed.

    What a call moved and what the network logged of it is one payment with two names.
    """
    mined = Transfer.objects.filter(
        network=network, txid__in={one.txid for one in outputs}, state__in=MINED
    )
    ways: dict[tuple[str, str], set[str]] = {}
    for txid, asset, position in mined.values_list("txid", "asset", "position"):
        ways.setdefault((txid, asset), set()).add(position.partition(":")[0])
    return [
        one
        for one in outputs
        if one.position.partition(":")[0]
        in ways.get((one.txid, one.asset), {one.position.partition(":")[0]})
    ]


def _tell(network: str, found: Findings) -> None:
    tell_of_notices(network, found.notices, found.ours)
    tell_of_strays(network, found.strays)
    tell_of_untraced(network, found.ref, found.untraced)


def _store_outflows(found: Findings, block: Block) -> None:
    Outflow.objects.bulk_create(
        [
            Outflow(
                address=found.ours[one.script],
                block=block,
                asset=one.asset,
                txid=one.txid,
                position=one.position,
                value=one.value,
            )
            for one in found.outflows
        ],
        ignore_conflicts=True,
    )
