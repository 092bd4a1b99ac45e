"""Bring a network from its cursor to its tip: one block, one transaction, cursor included.

Scan and rewind are one walk. The node is asked first, outside any transaction; what it said is
applied under the network's lock, and only if the cursor still stands where it stood before the
question. The parent hash is checked at every block; where it does not fit, the walk goes back block
by block to the fork point and then forward again.
"""

from collections.abc import Callable, Iterable
from collections.abc import Set as AbstractSet
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime

from django.db import connection, models, transaction
from django.db.models import F

from chains.assets import Network
from chains.models import Address, Block, Cursor, Inclusion, Spend, Transfer, TransferState
from chains.nodes import BlockContent, BlockRef, Node, NodeContradictionError, Output, Pending

UNMINED = (TransferState.SEEN, TransferState.DROPPED, TransferState.REPLACED)


@dataclass(slots=True, kw_only=True)
class ScanReport:
    """What one scan did; ``changed`` counts transfers whose state moved."""

    network: str
    applied: int = 0
    rewound: int = 0
    changed: int = 0
    height: int = 0
    tip_height: int = 0
    caught_up: bool = False


def scan_network(
    *,
    network: Network,
    node: Node,
    blocks_max: int = 200,
    told: Callable[[ScanReport], None] = lambda _report: None,
) -> ScanReport:
    """Walk up to ``blocks_max`` blocks towards the tip; when there, look at mempool and finality.

    ``told`` hears of the report after every block. Safe to run twice at once: what another scan
    has done meanwhile is left as it is (R66). Raises NodeError; what was applied before stays.
    """
    report = ScanReport(network=network.caip2)
    while report.applied + report.rewound < blocks_max and not report.caught_up:
        cursor = _cursor(network, node)
        report.height, report.tip_height = cursor.height, node.tip_height()
        if report.tip_height < cursor.height or node.block_at(cursor.height).hash != cursor.hash:
            _rewind(cursor, report)
        elif cursor.height < report.tip_height:
            last = min(report.tip_height, cursor.height + blocks_max - report.applied)
            _advance(cursor, node, last, report, told)
        else:
            _settle(network, cursor, node, report)
        told(report)
    return report


def _cursor(network: Network, node: Node) -> Cursor:
    cursor = Cursor.objects.filter(network=network.caip2).first()
    if cursor is None:
        first = node.block_at(max(0, network.start_height - 1))
        with transaction.atomic():
            Cursor.objects.get_or_create(
                network=network.caip2, defaults={"height": first.height, "hash": first.hash}
            )
            _keep_block(network.caip2, first)
        cursor = Cursor.objects.get(network=network.caip2)
    return cursor


def _locked(seen: Cursor) -> tuple[Cursor, datetime] | None:
    """Lock the network; its cursor and the database's time, or None if another scan moved it."""
    with connection.cursor() as sql:
        # Two statements: the clock is read after the wait for the lock, not before.
        sql.execute("SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))", [seen.network])
        sql.execute("SELECT clock_timestamp()")
        (now,) = sql.fetchone()
    cursor = Cursor.objects.select_for_update().get(pk=seen.pk)
    same = (cursor.hash, cursor.revision) == (seen.hash, seen.revision)
    return (cursor, now) if same else None


def _save(cursor: Cursor, before: int, report: ScanReport) -> None:
    cursor.save()
    report.changed += cursor.revision - before
    report.height = cursor.height
    if cursor.revision != before:
        with connection.cursor() as sql:
            sql.execute("SELECT pg_notify('transfers', %s)", [cursor.network])


def _advance(
    cursor: Cursor,
    node: Node,
    last: int,
    report: ScanReport,
    told: Callable[[ScanReport], None],
) -> None:
    with closing(node.read_blocks(cursor.height + 1, last)) as blocks:
        for content in blocks:
            if content.ref.parent_hash != cursor.hash:
                return  # the chain moved between two questions: the next look sees how
            with transaction.atomic():
                locked = _locked(cursor)
                if locked is None:
                    return
                cursor, now = locked
                before = cursor.revision
                _apply(cursor, content, now)
                _save(cursor, before, report)
            report.applied += 1
            told(report)


def _keep_block(network: str, ref: BlockRef) -> Block:
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


def _apply(cursor: Cursor, content: BlockContent, now: datetime) -> None:
    ref = content.ref
    block = _keep_block(cursor.network, ref)
    ours = _addresses(cursor.network, content.scripts)
    # What is found now was not to be seen when we last saw everything; since then, the block's
    # own clock is the best witness of when it could be.
    seen_at = min(now, max(cursor.caught_up_at or ref.time, ref.time))
    for output in content.outputs_to(ours.keys()) if ours else ():
        transfer = _upsert(cursor, output, ours[output.script], block=block, seen_at=seen_at)
        Inclusion.objects.get_or_create(transfer=transfer, block=block)
    for outpoint, txid in _spends_among(cursor.network, content.spent):
        spender = content.spender_of(outpoint)
        if spender != txid:
            _replace(cursor, txid, spender)
    cursor.height, cursor.hash = ref.height, ref.hash


def _addresses(network: str, scripts: AbstractSet[bytes]) -> dict[bytes, Address]:
    """Those of a block's scripts that are addresses of ours: one indexed query for all."""
    if not scripts:
        return {}
    known = Address.objects.raw(
        "SELECT * FROM chains_address WHERE network = %s AND script = ANY(%s)",
        [network, list(scripts)],
    )
    return {bytes(address.script): address for address in known}


def _spends_among(network: str, outpoints: Iterable[bytes]) -> list[tuple[bytes, str]]:
    """Which of some outpoints a transaction that pays us spends, each with its txid."""
    if not outpoints:
        return []
    rows = Spend.objects.raw(
        "SELECT * FROM chains_spend WHERE network = %s AND outpoint = ANY(%s) ORDER BY id",
        [network, list(outpoints)],
    )
    return [(bytes(row.outpoint), row.txid) for row in rows]


def _upsert(
    cursor: Cursor, output: Output, address: Address, *, block: Block | None, seen_at: datetime
) -> Transfer:
    cursor.revision += 1
    now_known = {
        "state": TransferState.INCLUDED if block else TransferState.SEEN,
        "block": block,
        "replaced_by": "",
        "revision": cursor.revision,
    }
    transfer, created = Transfer.objects.update_or_create(
        network=cursor.network,
        txid=output.txid,
        position=output.position,
        defaults=now_known,
        create_defaults=now_known
        | {
            "asset": output.asset,
            "address": address,
            "value": output.value,
            "maturity": output.maturity,
            "first_seen_at": seen_at,
        },
    )
    if created:
        Spend.objects.bulk_create(
            [
                Spend(network=cursor.network, outpoint=outpoint, txid=output.txid)
                for outpoint in output.spends
            ],
            ignore_conflicts=True,
        )
    return transfer


def _flip(cursor: Cursor, rows: "models.QuerySet[Transfer]", **changes: object) -> None:
    for transfer in rows.order_by("pk"):
        cursor.revision += 1
        for name, value in {**changes, "revision": cursor.revision}.items():
            setattr(transfer, name, value)
        transfer.save(update_fields=[*changes, "revision"])


def _replace(cursor: Cursor, txid: str, by: str) -> None:
    rows = Transfer.objects.filter(network=cursor.network, txid=txid, state__in=UNMINED)
    _flip(cursor, rows.exclude(replaced_by=by), state=TransferState.REPLACED, replaced_by=by)


def _rewind(seen: Cursor, report: ScanReport) -> None:
    """Take back the cursor's block; its transfers wait to be mined again until known otherwise."""
    with transaction.atomic():
        locked = _locked(seen)
        if locked is None:
            return
        cursor, _now = locked
        before = cursor.revision
        block = Block.objects.get(network=cursor.network, hash=cursor.hash)
        parent = Block.objects.filter(network=cursor.network, hash=block.parent_hash).first()
        if parent is None:
            raise NodeContradictionError(
                f"{cursor.network}: a reorganisation reaches below the first block that was "
                f"scanned ({block.height}); check the node, then start_height in NETWORKS_FILE."
            )
        Block.objects.filter(pk=block.pk).update(canonical=False)
        _flip(cursor, Transfer.objects.filter(block=block), state=TransferState.SEEN, block=None)
        cursor.height, cursor.hash = parent.height, parent.hash
        _save(cursor, before, report)
        report.rewound += 1


def _settle(network: Network, seen: Cursor, node: Node, report: ScanReport) -> None:
    """At the tip: take in the mempool, give up what left it, and finalise what is deep enough."""
    waiting = Transfer.objects.filter(network=seen.network, state=TransferState.SEEN)
    pending = node.pending(frozenset(waiting.values_list("txid", flat=True)))
    final_height = node.final_height(seen.height, network.final_confirmations)
    if node.tip_height() != seen.height or node.block_at(seen.height).hash != seen.hash:
        return  # a block came meanwhile: what left the mempool may stand in it
    with transaction.atomic():
        locked = _locked(seen)
        if locked is None:
            return
        cursor, now = locked
        before = cursor.revision
        _take_pending(cursor, pending, now)
        _finalise(cursor, final_height)
        cursor.caught_up_at = now
        _save(cursor, before, report)
    report.caught_up = True


def _take_pending(cursor: Cursor, pending: Pending, now: datetime) -> None:
    ours = _addresses(cursor.network, {output.script for output in pending.outputs})
    paying = [output for output in pending.outputs if output.script in ours]
    rows = Transfer.objects.filter(
        network=cursor.network, txid__in={output.txid for output in paying}
    )
    states = {(row.txid, row.position): row.state for row in rows}
    for output in paying:
        state = states.get((output.txid, output.position))
        if state in {None, TransferState.DROPPED, TransferState.REPLACED}:
            _upsert(cursor, output, ours[output.script], block=None, seen_at=now)
    for outpoint, txid in _spends_among(cursor.network, pending.spent.keys()):
        if pending.spent[outpoint] != txid and txid not in pending.txids:
            _replace(cursor, txid, pending.spent[outpoint])
    seen = Transfer.objects.filter(network=cursor.network, state=TransferState.SEEN)
    gone = set(seen.values_list("txid", flat=True)) - pending.txids
    _flip(cursor, seen.filter(txid__in=gone), state=TransferState.DROPPED)


def _finalise(cursor: Cursor, final_height: int) -> None:
    included = Transfer.objects.filter(network=cursor.network, state=TransferState.INCLUDED)
    ripe = included.filter(
        models.Q(block__height__lte=cursor.height + 1 - F("maturity")),
        block__height__lte=final_height,
    )
    _flip(cursor, ripe, state=TransferState.FINAL)
