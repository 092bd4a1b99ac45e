"""Store what a node said: blocks that came or went, what waits to be mined, what has become final.

Every function here runs inside a transaction of ``chains.scanning`` that holds the network's lock
and its cursor; each change of a transfer takes the cursor's next revision. Facts stay: a flip
changes states, never what was seen.
"""

from collections.abc import Collection, Generator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final

from django.db import connection
from django.db.models import F, Min, OuterRef, QuerySet, Subquery, Sum

from chains.assets import Network
from chains.lookups import rows_matching
from chains.models import (
    Address,
    AssetCursor,
    Block,
    Cursor,
    Deployment,
    Inclusion,
    Outflow,
    Spend,
    Transfer,
    TransferState,
)
from chains.nodes import BlockContent, BlockRef, NodeError, Notice, Output, Pending
from chains.telling import tell_of_notices, tell_of_strays

MINED = (TransferState.INCLUDED, TransferState.FINAL)
UNMINED = (TransferState.SEEN, TransferState.DROPPED, TransferState.REPLACED)
RETURNS_WITHIN: Final = timedelta(days=30)
"""How long a dropped transaction is looked for in mempools: twice as long as bitcoind keeps one."""


def lock(network: str) -> tuple[Cursor, datetime]:
    """Lock a network until the transaction ends; return its cursor and the database's time."""
    with connection.cursor() as sql:
        # Two statements: the clock is read after the wait for the lock, not before.
        sql.execute("SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))", [network])
        sql.execute("SELECT clock_timestamp()")
        (now,) = sql.fetchone()
    return Cursor.objects.select_for_update().get(network=network), now


def save(cursor: Cursor, revision: int) -> bool:
    """Save the cursor; where a transfer changed since ``revision``, tell who listens, and True."""
    cursor.save()
    if cursor.revision == revision:
        return False
    with connection.cursor() as sql:
        sql.execute("SELECT pg_notify('transfers', %s)", [cursor.network])
    return True


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Findings:
    """What a block means to us; worked out before any lock is taken, for the node may be asked."""

    ref: BlockRef
    ours: Mapping[bytes, Address]
    outputs: Sequence[Output]
    conflicts: Sequence[tuple[str, str]]
    """Transactions that pay us, and the other one that spent what they spend."""
    outflows: Sequence[Output] = ()
    notices: Sequence[Notice] = ()
    strays: Sequence[tuple[Address, Output]] = ()
    """Payments to addresses that were given out for another network (R44)."""


def find_in(network: str, content: BlockContent) -> Findings:
    """Look up what a block pays to addresses of ours, and which of our transactions it rules out.

    An address that is given out later cannot be paid by a block that was read before. Raises
    NodeError.
    """
    scripts = content.scripts
    ours = addresses_among([network], scripts)
    elsewhere = _addresses_elsewhere(network, scripts - ours.keys())
    outputs = content.outputs_to(ours.keys()) if ours else ()
    return Findings(
        ref=content.ref,
        ours=ours,
        outputs=[one for one in outputs if not _is_counted_by_balance(one, ours[one.script])],
        outflows=content.outflows_from(ours.keys()) if ours else (),
        notices=content.notices,
        strays=[
            (elsewhere[one.script], one)
            for one in (content.outputs_to(elsewhere.keys()) if elsewhere else ())
        ],
        conflicts=[
            (txid, spender)
            for outpoint, txid in _spends_among(network, content.spent)
            if (spender := content.spender_of(outpoint)) != txid
        ],
    )


def find_each(network: str, blocks: Generator[BlockContent]) -> Generator[Findings]:
    """Find in one block after the other; raises NodeError, and whoever reads them hears of it."""
    for content in blocks:
        try:
            found = find_in(network, content)
        except NodeError as error:
            blocks.throw(error)
            raise
        yield found


def begin(cursor: Cursor, assets: AbstractSet[str]) -> None:
    """Note that assets are looked for in every block after the cursor; known ones stay as noted."""
    AssetCursor.objects.bulk_create(
        [
            AssetCursor(network=cursor.network, asset=asset, height=cursor.height)
            for asset in sorted(assets)
        ],
        ignore_conflicts=True,
    )


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
    _move_assets(cursor.network, assets, cursor.height, ref.height)
    cursor.height, cursor.hash = ref.height, ref.hash


def apply_again(cursor: Cursor, found: Findings, now: datetime) -> int:
    """Store what is missing of a block up to the cursor, which stays; return how many rows moved.

    What was missed is our fault, so the payer's time is the block's.
    """
    before = cursor.revision
    found = replace(found, outputs=_counted_the_same_way(cursor.network, found.outputs))
    _take_in(cursor, found, min(now, found.ref.time))
    return Transfer.objects.filter(network=cursor.network, revision__gt=before).count()


def _take_in(cursor: Cursor, found: Findings, seen_at: datetime) -> None:
    block = keep_block(cursor.network, found.ref)
    _store(cursor, found.outputs, found.ours, block=block, seen_at=seen_at)
    _store_outflows(found, block)
    _tell(cursor.network, found)
    for txid, spender in found.conflicts:
        _replace(cursor, txid, spender)


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
    if not _move_assets(cursor.network, assets, first.height - 1, last.height):
        return False
    for found in blocks:
        if found.outputs or found.outflows:
            block = Block.objects.get(network=cursor.network, hash=found.ref.hash)
            seen_at = min(now, found.ref.time)
            _store(cursor, found.outputs, found.ours, block=block, seen_at=seen_at)
            _store_outflows(found, block)
        _tell(cursor.network, found)
    return True


def store_delta(cursor: Cursor, address: Address, output: Output, block: Block) -> None:
    """Store what a balance has grown by in a final block of ours (R57); ``block`` dates it."""
    ours = {output.script: address}
    _store(cursor, [output], ours, block=block, seen_at=block.time)


def _move_assets(network: str, assets: AbstractSet[str], was: int, height: int) -> int:
    """Move the cursors of assets that stand just before what was read; one with a gap stays."""
    rows = AssetCursor.objects.filter(network=network, asset__in=assets, height=was)
    return rows.update(height=height)


def undo_blocks(cursor: Cursor, fork: Block) -> int:
    """Take back every block above ``fork`` and move the cursor there; return how many.

    Their transfers wait to be mined again until the mempool or a block says otherwise (R1).
    """
    orphans = Block.objects.filter(network=cursor.network, canonical=True, height__gt=fork.height)
    waiting = Transfer.objects.filter(block__in=orphans.values("pk"))
    _flip(cursor, waiting, state=TransferState.SEEN, block=None)
    AssetCursor.objects.filter(network=cursor.network, height__gt=fork.height).update(
        height=fork.height
    )
    counted = Address.objects.filter(network=cursor.network, balance_height__gt=fork.height)
    counted.update(balance_height=fork.height)
    cursor.height, cursor.hash = fork.height, fork.hash
    return orphans.update(canonical=False)


def take_pending(cursor: Cursor, pending: Pending, now: datetime) -> None:
    """Take in what waits to be mined, and give up what does so no more."""
    ours = addresses_among([cursor.network], {output.script for output in pending.outputs})
    paying = [output for output in pending.outputs if output.script in ours]
    _store(cursor, paying, ours, block=None, seen_at=now)
    for outpoint, txid in _spends_among(cursor.network, pending.spent.keys()):
        if pending.spent[outpoint] != txid and txid not in pending.txids:
            _replace(cursor, txid, pending.spent[outpoint])
    seen = Transfer.objects.filter(network=cursor.network, state=TransferState.SEEN)
    gone = set(seen.values_list("txid", flat=True)) - pending.txids
    _flip(cursor, seen.filter(txid__in=gone), state=TransferState.DROPPED)
    # One node's mempool may have lacked what another, or the same one later, still holds.
    lost = Transfer.objects.filter(
        network=cursor.network,
        state=TransferState.DROPPED,
        first_seen_at__gt=now - RETURNS_WITHIN,
    )
    back = pending.txids & set(lost.values_list("txid", flat=True))
    _flip(cursor, lost.filter(txid__in=back), state=TransferState.SEEN)


def finalise(cursor: Cursor, network: Network, final_heights: Mapping[int, int]) -> None:
    """Make final what is deep enough; ``final_heights`` by the number of confirmations asked for.

    A tier goes by all that waits for the same address: a large payment gains nothing by being
    split.
    """
    included = Transfer.objects.filter(
        network=cursor.network,
        state=TransferState.INCLUDED,
        block__height__lte=cursor.height + 1 - F("maturity"),
    )
    tiered = {tier.asset for tier in network.finality_tiers}
    deep = final_heights[network.final_confirmations]
    plain = included.exclude(asset__in=tiered).filter(block__height__lte=deep)
    _flip(cursor, plain, state=TransferState.FINAL)
    beside = Transfer.objects.filter(
        state=TransferState.INCLUDED, address=OuterRef("address"), asset=OuterRef("asset")
    )
    total = beside.order_by().values("address").annotate(total=Sum("value")).values("total")
    rows = included.filter(asset__in=tiered).annotate(total=Subquery(total))
    ripe = [
        row.pk
        for row in rows.select_related("block")
        if row.block
        and row.block.height <= final_heights[network.confirmations_for(row.asset, int(row.total))]
    ]
    _flip(cursor, Transfer.objects.filter(pk__in=ripe), state=TransferState.FINAL)


def addresses_among(networks: Sequence[str], scripts: AbstractSet[bytes]) -> dict[bytes, Address]:
    """Those of a block's scripts that are addresses of ours: one indexed query for all."""
    if not scripts or not networks:
        return {}
    # By the script alone, whose index is small and flat; the few that match are then read whole.
    rows = rows_matching("SELECT id FROM chains_address WHERE script = ANY(%s)", scripts)
    pks = [pk for (pk,) in rows]
    known = Address.objects.filter(network__in=networks, pk__in=pks) if pks else ()
    return {bytes(address.script): address for address in known}


def _addresses_elsewhere(network: str, scripts: AbstractSet[bytes]) -> dict[bytes, Address]:
    """Addresses of ours on other EVM networks: the same address exists on all of them (R44)."""
    if not network.startswith("eip155:"):
        return {}
    others = Deployment.objects.exclude(network=network).values_list("network", flat=True)
    return addresses_among(sorted(set(others)), scripts)


def _is_counted_by_balance(output: Output, address: Address) -> bool:
    """Whether a coin's movement is left to ``chains.balances``: never two ways for one address."""
    return address.balance_height is not None and "/erc20:" not in output.asset


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


def waiting_txids(network: str) -> frozenset[str]:
    """The transactions that were seen and are not mined."""
    rows = Transfer.objects.filter(network=network, state=TransferState.SEEN)
    return frozenset(rows.values_list("txid", flat=True))


def has_included(network: str) -> bool:
    """Whether anything waits to become final."""
    return Transfer.objects.filter(network=network, state=TransferState.INCLUDED).exists()


def _spends_among(network: str, outpoints: Collection[bytes]) -> list[tuple[bytes, str]]:
    """Which of some outpoints a transaction that pays us spends, each with its txid."""
    if not outpoints:
        return []
    rows = rows_matching(
        "SELECT network, outpoint, txid FROM chains_spend WHERE outpoint = ANY(%s) ORDER BY id",
        outpoints,
    )
    return [(outpoint, txid) for where, outpoint, txid in rows if where == network]


def _store(
    cursor: Cursor,
    outputs: Sequence[Output],
    ours: Mapping[bytes, Address],
    *,
    block: Block | None,
    seen_at: datetime,
) -> None:
    """Bring the rows of some outputs in line with where they stand now: in a block, or waiting.

    A transaction that was mined again may say something else at the same position (an EVM contract
    pays what its state tells): that is another variant, and the earlier one is replaced. A flood of
    outputs costs a handful of queries (R26).
    """
    if not outputs:
        return
    known: dict[tuple[str, str], list[Transfer]] = {}
    txids = {output.txid for output in outputs}
    for row in Transfer.objects.filter(network=cursor.network, txid__in=txids).order_by("variant"):
        known.setdefault((row.txid, row.position), []).append(row)
    moved, replaced, new = [], [], []
    for output in outputs:
        rows = known.get((output.txid, output.position), [])
        facts = (output.asset, ours[output.script].pk, output.value)
        same = [row for row in rows if (row.asset, row.address_id, int(row.value)) == facts]
        replaced += [row.pk for row in rows if row not in same]
        moved += [row.pk for row in same if not _stands(row, block)]
        if not same:
            new.append((output, len(rows)))
    # First what gives way: the database holds one standing variant for each output.
    _flip_replaced(cursor, replaced)
    state = TransferState.INCLUDED if block else TransferState.SEEN
    back = Transfer.objects.filter(pk__in=moved)
    _flip(cursor, back, state=state, block=block, replaced_by="")
    _create(cursor, new, ours, block=block, seen_at=seen_at)
    if block is not None:
        mined = Transfer.objects.filter(block=block, txid__in=txids)
        Inclusion.objects.bulk_create(
            [Inclusion(transfer=row, block=block) for row in mined.order_by("pk")],
            ignore_conflicts=True,
        )


def _stands(row: Transfer, block: Block | None) -> bool:
    """Whether a row says already that it is in ``block``, or that it waits (or is mined)."""
    if block is None:
        return row.state in {TransferState.SEEN, *MINED}
    return row.state in MINED and row.block_id == block.pk


def _create(
    cursor: Cursor,
    new: Sequence[tuple[Output, int]],
    ours: Mapping[bytes, Address],
    *,
    block: Block | None,
    seen_at: datetime,
) -> None:
    """Add rows for outputs never stored before, each with its variant's number."""
    first_seen = _first_seen(cursor.network, [output for output, _variant in new], ours)
    rows = []
    for output, variant in new:
        cursor.revision += 1
        address = ours[output.script]
        earlier = first_seen.get((output.txid, output.position), seen_at)
        rows.append(
            Transfer(
                network=cursor.network,
                txid=output.txid,
                position=output.position,
                variant=variant,
                asset=output.asset,
                address=address,
                value=output.value,
                maturity=output.maturity,
                state=TransferState.INCLUDED if block else TransferState.SEEN,
                block=block,
                revision=cursor.revision,
                first_seen_at=min(seen_at, earlier),
            )
        )
    Transfer.objects.bulk_create(rows)
    spends = {(outpoint, output.txid) for output, _variant in new for outpoint in output.spends}
    Spend.objects.bulk_create(
        [
            Spend(network=cursor.network, outpoint=outpoint, txid=txid)
            for outpoint, txid in sorted(spends)
        ],
        ignore_conflicts=True,
    )


def _first_seen(
    network: str, outputs: Sequence[Output], ours: Mapping[bytes, Address]
) -> dict[tuple[str, str], datetime]:
    """When payments were first seen under an earlier txid: a raised fee makes no payer late.

    A transaction that spends one of the same outpoints, or this one as it was mined before, and
    had promised the same address at least as much of the same asset, was the same payment.
    """
    outpoints = {outpoint for output in outputs for outpoint in output.spends}
    rivals: dict[bytes, set[str]] = {}
    for outpoint, txid in _spends_among(network, outpoints):
        rivals.setdefault(outpoint, set()).add(txid)
    found: dict[tuple[str, str], datetime] = {}
    rows = Transfer.objects.filter(network=network, txid__in={output.txid for output in outputs})
    known = set(rows.values_list("txid", flat=True))
    for output in outputs:
        txids = {txid for outpoint in output.spends for txid in rivals.get(outpoint, ())}
        txids |= known & {output.txid}
        if not txids:
            continue
        earlier = Transfer.objects.filter(
            network=network,
            txid__in=txids,
            address=ours[output.script],
            asset=output.asset,
            value__gte=output.value,
        )
        first = earlier.aggregate(first=Min("first_seen_at"))["first"]
        if first is not None:
            found[output.txid, output.position] = first
    return found


def _replace(cursor: Cursor, txid: str, by: str) -> None:
    rows = Transfer.objects.filter(network=cursor.network, txid=txid, state__in=UNMINED)
    _flip(cursor, rows.exclude(replaced_by=by), state=TransferState.REPLACED, replaced_by=by)


def _flip_replaced(cursor: Cursor, pks: Sequence[int]) -> None:
    """Replace variants by another of the same transaction."""
    rows = Transfer.objects.filter(pk__in=pks).exclude(state=TransferState.REPLACED)
    _flip(cursor, rows, state=TransferState.REPLACED, replaced_by=F("txid"), block=None)


def _flip(cursor: Cursor, rows: QuerySet[Transfer], **changes: object) -> None:
    """Change rows, each under a revision of its own; revisions grow with gaps."""
    # Named one by one: a join of the table with itself is quadratic where statistics lag a flood.
    pks = sorted(rows.order_by().values_list("pk", flat=True))
    if not pks:
        return
    revision = F("pk") + (cursor.revision + 1 - pks[0])
    Transfer.objects.filter(pk__in=pks).update(revision=revision, **changes)
    cursor.revision += 1 + pks[-1] - pks[0]
