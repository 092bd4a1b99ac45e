"""Bring a network from its cursor to its tip: one block, one transaction, cursor included.

Scan and rewind are one walk. The node is asked first, outside any transaction; what it said is
applied under the network's lock, and only if the cursor still stands where it stood before the
question. The parent hash is checked at every block; where it does not fit, the fork point is found
and everything above it is taken back at once. A node that is merely behind takes nothing back.
"""

from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise
from typing import Final

import structlog
from django.db import transaction
from django.db.models import Max

from chains import cursors, finalising, finding, mempool, recording
from chains.assets import Network
from chains.models import Block, Cursor, Transfer, TransferState
from chains.nodes import BlockRef, Node, NodeBlindError, NodeContradictionError

log = structlog.get_logger(__name__)

LOOKS_MAX: Final = 1_000
"""How often one scan looks where the chain stands: a chain that never holds still is left alone."""
FORK_BLOCKS_MAX: Final = 10_000
ROOTS: Final = 24
"""Blocks that are known by name alone before the first that is scanned: as many as Bitcoin's
deepest reorganisation took (March 2013). One that begins below the start finds its fork there."""


@dataclass(slots=True, kw_only=True)
class ScanReport:
    """What one scan did; ``changed`` tells whether any transfer's state moved."""

    network: str
    applied: int = 0
    rewound: int = 0
    changed: bool = False
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
    for _look in range(LOOKS_MAX):
        cursor = _cursor(network, node)
        report.height, report.tip_height = cursor.height, node.tip_height()
        if not _stands(cursor, node, report.tip_height):
            _rewind(cursor, node, report)
        elif cursor.height < report.tip_height:
            last = min(report.tip_height, cursor.height + blocks_max - report.applied)
            _advance(cursor, node, last, report, told)
        else:
            _settle(network, cursor, node, report)
        told(report)
        if report.caught_up or report.applied >= blocks_max:
            break
    return report


def _cursor(network: Network, node: Node) -> Cursor:
    cursor = Cursor.objects.filter(network=network.caip2).first()
    if cursor is None:
        node.check_chain()
        roots = _roots(network, node)
        first = roots[-1]
        # Whoever reads changes by revision must never meet one again, even if the row was lost.
        used = Transfer.objects.filter(network=network.caip2).aggregate(last=Max("revision"))
        with transaction.atomic():
            row, created = Cursor.objects.get_or_create(
                network=network.caip2,
                defaults={
                    "height": first.height,
                    "hash": first.hash,
                    "revision": used["last"] or 0,
                },
            )
            for root in roots:
                recording.keep_block(network.caip2, root)
            if created:
                cursors.begin(row, node.assets)
        cursor = Cursor.objects.get(network=network.caip2)
    return cursor


def _roots(network: Network, node: Node) -> list[BlockRef]:
    """The block before the first that is scanned, last, and some before it. Raises NodeError."""
    top = max(0, network.start_height - 1)
    roots = [node.block_at(height) for height in range(max(0, top - ROOTS), top + 1)]
    if any(after.parent_hash != before.hash for before, after in pairwise(roots)):
        raise NodeContradictionError(f"{network.name}: the chain moved while it was first read.")
    return roots


def _stands(cursor: Cursor, node: Node, tip_height: int) -> bool:
    """Whether the cursor's block is on the node's best chain.

    Raises NodeBlindError for a node that is behind: a shorter chain proves nothing by itself.
    """
    if tip_height >= cursor.height:
        return node.block_at(cursor.height).hash == cursor.hash
    if node.is_orphan(cursor.hash):
        return False
    raise NodeBlindError(
        f"{cursor.network}: the node stands at {tip_height}, behind the {cursor.height} blocks "
        "that were scanned; nothing is taken back."
    )


def _locked(seen: Cursor) -> tuple[Cursor, datetime] | None:
    """Lock the network; its cursor and the database's time, or None if another scan moved it."""
    cursor, now = cursors.lock(seen.network)
    same = (cursor.hash, cursor.revision) == (seen.hash, seen.revision)
    return (cursor, now) if same else None


def _save(cursor: Cursor, seen: Cursor, report: ScanReport) -> None:
    report.height = cursor.height
    report.changed |= cursors.save(cursor, seen.revision)


def _advance(
    seen: Cursor,
    node: Node,
    last: int,
    report: ScanReport,
    told: Callable[[ScanReport], None],
) -> None:
    with closing(node.read_blocks(seen.height + 1, last)) as blocks:
        for found in finding.find_each(seen.network, blocks):
            if found.ref.parent_hash != seen.hash:
                return  # the chain moved between two questions: the next look sees how
            with transaction.atomic():
                locked = _locked(seen)
                if locked is None:
                    return
                cursor, now = locked
                recording.apply_block(cursor, found, now, assets=node.assets)
                _save(cursor, seen, report)
            seen = cursor
            report.applied += 1
            told(report)


def _rewind(seen: Cursor, node: Node, report: ScanReport) -> None:
    # A chain that was swapped behind the same URL must not undo ours (R18, R43).
    node.check_chain()
    fork = _fork(seen, node)
    _agree_on(fork, node)
    with transaction.atomic():
        locked = _locked(seen)
        if locked is None:
            return
        cursor, _now = locked
        depth = recording.undo_blocks(cursor, fork)
        _save(cursor, seen, report)
    report.rewound += depth
    log.warning(
        "chain reorganised", network=seen.network, depth=depth, fork=fork.height, was=seen.hash
    )


def _fork(seen: Cursor, node: Node) -> Block:
    """The last of our blocks that is on the node's best chain; nothing is changed to find it."""
    blocks = Block.objects.filter(network=seen.network)
    tip_height = node.tip_height()
    block = blocks.get(hash=seen.hash)
    for _ in range(FORK_BLOCKS_MAX):
        parent = blocks.filter(hash=block.parent_hash).first()
        if parent is None:
            break
        block = parent
        if block.height <= tip_height and node.block_at(block.height).hash == block.hash:
            return block
    raise NodeContradictionError(
        f"{seen.network}: the node's chain has no block in common with what was scanned down to "
        f"{block.height}. Nothing was taken back; check the node (endpoints in NETWORKS_FILE)."
    )


def _agree_on(fork: Block, node: Node) -> None:
    """Raise NodeContradictionError where what is final above ``fork`` is gone for some nodes only.

    As nothing becomes final that the answering nodes do not agree on, so nothing that is final is
    taken back: one node may follow a chain of its own, or lie (R19).
    """
    lost = Block.objects.filter(
        network=fork.network, canonical=True, height__gt=fork.height
    ).order_by("height")
    above = Transfer.objects.filter(block__in=lost.values("pk"), state=TransferState.FINAL)
    first = lost.first()
    if first and above.exists() and node.follows(first.height, first.hash):
        raise NodeContradictionError(
            f"{fork.network}: some nodes left the chain that was scanned at {fork.height}, and "
            "others did not. Nothing final was taken back; find out which of them is wrong "
            "(endpoints in NETWORKS_FILE)."
        )


def _settle(network: Network, seen: Cursor, node: Node, report: ScanReport) -> None:
    """At the tip: take in the mempool, give up what left it, and finalise what is deep enough."""
    pending = node.pending(mempool.waiting_txids(seen.network))
    needs = network.confirmations if finalising.has_included(seen.network) else frozenset()
    heights = {need: node.final_height(seen.height, need) for need in sorted(needs)}
    if node.tip_height() != seen.height or not _is_at(node, seen):
        return  # a block came meanwhile: what left the mempool may stand in it
    if heights:
        # A chain that shares a past with ours may have been put behind the same URL (R43).
        node.check_chain()
    with transaction.atomic():
        locked = _locked(seen)
        if locked is None:
            return
        cursor, now = locked
        mempool.take_pending(cursor, pending, now)
        if heights:
            finalising.finalise(cursor, network, heights)
        cursor.caught_up_at = now
        _save(cursor, seen, report)
    pending.taken()
    report.caught_up = True


def _is_at(node: Node, seen: Cursor) -> bool:
    ref: BlockRef = node.block_at(seen.height)
    return ref.hash == seen.hash
