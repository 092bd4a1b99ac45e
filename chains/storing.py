"""How the rows of transfers change: stored once for each output, then flipped, never overwritten.

Every function here runs inside a transaction that holds the network's lock and its cursor
(``chains.cursors``); each change of a transfer takes the cursor's next revision. Facts stay: a flip
changes states, never what was seen.
"""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime

from django.db.models import F, Min, QuerySet

from chains.finding import rivals_of
from chains.models import MINED, Address, Block, Cursor, Inclusion, Spend, Transfer, TransferState
from chains.nodes import Output

UNMINED = (TransferState.SEEN, TransferState.DROPPED, TransferState.REPLACED)


def store(
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
    flip(cursor, back, state=state, block=block, replaced_by="")
    _create(cursor, new, ours, block=block, seen_at=seen_at)
    if block is not None:
        mark_spends(cursor.network, {one.txid for one in outputs if one.spends}, mined=True)
        mined = Transfer.objects.filter(block=block, txid__in=txids)
        Inclusion.objects.bulk_create(
            [Inclusion(transfer=row, block=block) for row in mined.order_by("pk")],
            ignore_conflicts=True,
        )


def replace_by(cursor: Cursor, txid: str, by: str) -> None:
    """Give up what a transaction pays and is not mined: another one spent what it spends."""
    rows = Transfer.objects.filter(network=cursor.network, txid=txid, state__in=UNMINED)
    flip(cursor, rows.exclude(replaced_by=by), state=TransferState.REPLACED, replaced_by=by)


def flip(cursor: Cursor, rows: QuerySet[Transfer], **changes: object) -> None:
    """Change rows, each under a revision of its own; revisions grow with gaps."""
    # Named one by one: a join of the table with itself is quadratic where statistics lag a flood.
    pks = sorted(rows.order_by().values_list("pk", flat=True))
    if not pks:
        return
    revision = F("pk") + (cursor.revision + 1 - pks[0])
    Transfer.objects.filter(pk__in=pks).update(revision=revision, **changes)
    cursor.revision += 1 + pks[-1] - pks[0]


def mark_spends(network: str, txids: Collection[str], *, mined: bool) -> None:
    """Note of some transactions whether they are in a block that counts."""
    if txids:
        Spend.objects.filter(network=network, txid__in=txids).update(is_mined=mined)


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
    rivals = rivals_of(network, {spent for output in outputs for spent in output.spends})
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


def _flip_replaced(cursor: Cursor, pks: Sequence[int]) -> None:
    """Replace variants by another of the same transaction."""
    rows = Transfer.objects.filter(pk__in=pks).exclude(state=TransferState.REPLACED)
    flip(cursor, rows, state=TransferState.REPLACED, replaced_by=F("txid"), block=None)
