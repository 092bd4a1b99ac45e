"""Bring a network from its cursor to its tip: one block, one transaction, cursor included.

Scan and rewind are one walk under one lock. The parent hash is checked at every block; where it
does not fit, the walk goes back block by block to the fork point and then forward again.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from django.db import connection, models, transaction
from django.db.models import F

from chains.assets import Network
from chains.models import Address, Block, Cursor, Inclusion, Transfer, TransferState
from chains.nodes import BlockRef, Node, NodeContradictionError, Output


@dataclass(slots=True, kw_only=True)
class ScanReport:
    """What one scan did; ``changed`` counts transfers whose state moved."""

    network: str
    applied: int = 0
    rewound: int = 0
    changed: int = 0
    tip_height: int = 0
    caught_up: bool = False


def scan_network(*, network: Network, node: Node, blocks_max: int = 200) -> ScanReport:
    """Walk up to ``blocks_max`` blocks towards the tip; when there, look at mempool and finality.

    Safe to run twice at once: an advisory lock held for each step's transaction makes the steps
    follow each other (R66). Raises NodeError; what was applied before stays.
    """
    report = ScanReport(network=network.caip2)
    for _ in range(blocks_max):
        with transaction.atomic():
            _step(network, node, report)
        if report.caught_up:
            break
    return report


def _step(network: Network, node: Node, report: ScanReport) -> None:
    cursor = _locked_cursor(network, node)
    revision_before = cursor.revision
    report.tip_height = node.tip_height()
    if report.tip_height < cursor.height or node.block_at(cursor.height).hash != cursor.hash:
        _rewind(cursor, node)
        report.rewound += 1
    elif cursor.height < report.tip_height:
        block = node.block_at(cursor.height + 1)
        if block.parent_hash == cursor.hash:
            _apply(cursor, block, node.outputs_of(block))
            report.applied += 1
        # Else the chain moved between two questions: the next step sees the cursor's block gone.
    else:
        _look_at_mempool(cursor, node)
        _finalise(cursor, node.final_height(cursor.height))
        report.caught_up = True
    cursor.save()
    report.changed += cursor.revision - revision_before
    if cursor.revision != revision_before:
        with connection.cursor() as sql:
            sql.execute("SELECT pg_notify('transfers', %s)", [network.caip2])


def _locked_cursor(network: Network, node: Node) -> Cursor:
    with connection.cursor() as sql:
        sql.execute("SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))", [network.caip2])
    cursor = Cursor.objects.select_for_update().filter(network=network.caip2).first()
    if cursor is None:
        first = node.block_at(max(0, network.start_height - 1))
        cursor = Cursor(network=network.caip2, height=first.height, hash=first.hash)
        _keep_block(cursor, first)
    return cursor


def _keep_block(cursor: Cursor, ref: BlockRef) -> Block:
    block, _created = Block.objects.update_or_create(
        network=cursor.network,
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


def _apply(cursor: Cursor, ref: BlockRef, outputs: Sequence[Output]) -> None:
    block = _keep_block(cursor, ref)
    for output, address in _ours(cursor.network, outputs):
        transfer = _upsert(cursor, output, address, state=TransferState.INCLUDED, block=block)
        Inclusion.objects.get_or_create(transfer=transfer, block=block)
    cursor.height, cursor.hash = ref.height, ref.hash


def _ours(network: str, outputs: Sequence[Output]) -> list[tuple[Output, Address]]:
    """Pick the outputs that pay an address of ours: one indexed query, whatever their number."""
    scripts = {output.script for output in outputs}
    known = Address.objects.filter(network=network, script__in=scripts) if scripts else []
    by_script = {bytes(address.script): address for address in known}
    return [(output, by_script[output.script]) for output in outputs if output.script in by_script]


def _upsert(
    cursor: Cursor, output: Output, address: Address, *, state: TransferState, block: Block | None
) -> Transfer:
    cursor.revision += 1
    transfer, _created = Transfer.objects.update_or_create(
        network=cursor.network,
        txid=output.txid,
        position=output.position,
        defaults={"state": state, "block": block, "revision": cursor.revision},
        create_defaults={
            "state": state,
            "block": block,
            "revision": cursor.revision,
            "asset": output.asset,
            "address": address,
            "value": output.value,
            "maturity": output.maturity,
        },
    )
    return transfer


def _rewind(cursor: Cursor, node: Node) -> None:
    """Take back the cursor's block; its transfers wait in the mempool again, or are dropped."""
    block = Block.objects.get(network=cursor.network, hash=cursor.hash)
    parent = Block.objects.filter(network=cursor.network, hash=block.parent_hash).first()
    if parent is None:
        raise NodeContradictionError(
            f"{cursor.network}: a reorganisation reaches below the first block that was scanned "
            f"({block.height}); check the node, then start_height in NETWORKS_FILE."
        )
    Block.objects.filter(pk=block.pk).update(canonical=False)
    # Until the mempool or another block shows it again, an EVM transfer counts as gone.
    state = TransferState.SEEN if node.has_mempool else TransferState.DROPPED
    for transfer in Transfer.objects.filter(block=block).order_by("pk"):
        cursor.revision += 1
        transfer.state, transfer.block, transfer.revision = state, None, cursor.revision
        transfer.save(update_fields=["state", "block", "revision"])
    cursor.height, cursor.hash = parent.height, parent.hash


def _look_at_mempool(cursor: Cursor, node: Node) -> None:
    pending = node.pending()
    if pending is None:
        return
    fresh = _ours(cursor.network, pending.outputs)
    known = {
        (one.txid, one.position): one.state
        for one in Transfer.objects.filter(
            network=cursor.network, txid__in={output.txid for output, _address in fresh}
        )
    }
    for output, address in fresh:
        if known.get((output.txid, output.position)) in {None, TransferState.DROPPED}:
            _upsert(cursor, output, address, state=TransferState.SEEN, block=None)
    if node.tip_height() != cursor.height or node.block_at(cursor.height).hash != cursor.hash:
        return  # a block came meanwhile: what left the mempool may stand in it
    waiting = Transfer.objects.filter(network=cursor.network, state=TransferState.SEEN)
    for transfer in waiting.exclude(txid__in=pending.txids).order_by("pk"):
        cursor.revision += 1
        transfer.state, transfer.revision = TransferState.DROPPED, cursor.revision
        transfer.save(update_fields=["state", "revision"])


def _finalise(cursor: Cursor, final_height: int) -> None:
    included = Transfer.objects.filter(network=cursor.network, state=TransferState.INCLUDED)
    ripe = included.filter(
        models.Q(block__height__lte=cursor.height + 1 - F("maturity")),
        block__height__lte=final_height,
    )
    for transfer in ripe.order_by("pk"):
        cursor.revision += 1
        transfer.state, transfer.revision = TransferState.FINAL, cursor.revision
        transfer.save(update_fields=["state", "revision"])
