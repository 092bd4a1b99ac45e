"""Read blocks again that were scanned before, and store what is missing.

For an operator who doubts: after a restored backup, a start height that was set too late, or a node
that is found to have lied. The cursor stays where it is, so the scans of new blocks go on meanwhile
and no payer waits.
"""

from collections.abc import Callable, Mapping
from collections.abc import Set as AbstractSet
from contextlib import closing
from dataclasses import dataclass

from django.db import transaction

from chains import cursors, finding, recording
from chains.alerts import AlertKind, close_alerts, open_evidence
from chains.assets import NativeMode, Network
from chains.models import Block, Cursor
from chains.nodes import Node, NodeContradictionError


class NothingScannedError(Exception):
    """The network has no cursor yet, or the height is above it."""


@dataclass(slots=True, kw_only=True)
class RescanReport:
    """How far a rescan is; ``found`` counts the transfers that were missing or stood wrong."""

    height: int
    tip_height: int
    found: int = 0


def rescan_network(
    *,
    network: Network,
    node: Node,
    first: int,
    told: Callable[[RescanReport], None] = lambda _report: None,
) -> RescanReport:
    """Read the blocks from height ``first`` to the cursor again; store what they hold for us.

    Each block must be the one that was scanned at its height, and name the one before it. May be
    stopped and run again from any height. Raises NothingScannedError, NodeError, and of these
    NodeContradictionError where the node's chain is not what was scanned: scan first.
    """
    cursor = Cursor.objects.filter(network=network.caip2).first()
    if cursor is None or not 0 <= first <= cursor.height:
        scanned = "not scanned yet" if cursor is None else f"scanned up to {cursor.height}"
        raise NothingScannedError(
            f"{network.name} is {scanned}: nothing from {first} to read again."
        )
    node.check_chain()
    report = RescanReport(height=first - 1, tip_height=cursor.height)
    not_traced = _not_traced(network)
    before = node.block_at(first - 1).hash if first else None
    with closing(node.read_blocks(first, cursor.height)) as blocks:
        for found in finding.find_each(network.caip2, blocks):
            ref = found.ref
            if before is not None and ref.parent_hash != before:
                raise _moved(network, ref.height)
            report.found += _read_again(network, found)
            for txid in not_traced.get(ref.hash, frozenset()) - found.untraced:
                close_alerts(
                    network=network.caip2,
                    kind=AlertKind.NOT_TRACED,
                    subject=txid,
                    evidence=ref.hash,
                )
            report.height, before = ref.height, ref.hash
            told(report)
    return report


def _read_again(network: Network, found: finding.Findings) -> int:
    if not (found.outputs or found.outflows or found.conflicts or found.untraced):
        return 0
    with transaction.atomic():
        cursor, now = cursors.lock(network.caip2)
        ref = found.ref
        stored = Block.objects.filter(network=cursor.network, height=ref.height, canonical=True)
        known = stored.values_list("hash", flat=True).first()
        if ref.height > cursor.height or known not in {None, ref.hash}:
            raise _moved(network, ref.height)
        revision = cursor.revision
        moved = recording.apply_again(cursor, found, now)
        cursors.save(cursor, revision)
    return moved


def _not_traced(network: Network) -> Mapping[str, AbstractSet[str]]:
    """The transactions that wait to be traced, by their blocks, where traces are read at all."""
    if network.native is not NativeMode.TRACES:
        return {}
    return open_evidence(network=network.caip2, kind=AlertKind.NOT_TRACED)


def _moved(network: Network, height: int) -> NodeContradictionError:
    return NodeContradictionError(
        f"{network.name}: the node's block {height} is not the one that was scanned. The chain was "
        "reorganised meanwhile: scan the network, then read it again."
    )
