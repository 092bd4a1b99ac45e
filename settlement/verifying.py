"""Prove that the journal is what was sealed: name each row that was changed, lost or slipped in."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from django.db import connection

from settlement.canonical import GENESIS, hashes_of, link
from settlement.days import MOVED, totals_after
from settlement.models import ClosedDay, SealedEntry
from settlement.snapshots import one_snapshot

CHUNK: Final = 5_000
FINDINGS_MAX: Final = 1_000
SLIPPED_IN: Final = """
    SELECT e.id FROM settlement_journalentry e
    WHERE (e.booked_xid, e.id) <= (%s, %s)
      AND NOT EXISTS (SELECT FROM settlement_sealedentry s WHERE s.entry_id = e.id)
    ORDER BY e.id LIMIT %s
"""
WAITING: Final = """
    SELECT count(*), min(booked_at) FROM settlement_journalentry WHERE (booked_xid, id) > (%s, %s)
"""
ORPHANS: Final = """
    SELECT p.id, p.entry_id FROM settlement_posting p
    WHERE NOT EXISTS (SELECT FROM settlement_journalentry e WHERE e.id = p.entry_id)
    ORDER BY p.id LIMIT %s
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that is not as it was sealed."""

    what: str
    """``tampered``, ``missing``, ``inserted``, ``orphan``, ``seal``, ``anchor`` or ``day``."""
    row: str
    """The row, by table and id."""


@dataclass(slots=True, kw_only=True)
class Verification:
    """How far the chain is sealed, and what is wrong."""

    sealed: int = 0
    entry_id: int | None = None
    chain_hash: str = GENESIS.hex()
    sealed_at: datetime | None = None
    waiting: int = 0
    waiting_since: datetime | None = None
    findings: list[Finding] = field(default_factory=list)

    def found(self, what: str, row: str) -> None:
        """Note a finding, as long as the list is of use to anybody."""
        if len(self.findings) < FINDINGS_MAX:
            self.findings.append(Finding(what=what, row=row))


def verify_ledger(*, anchor: tuple[int, str] | None = None) -> Verification:
    """Walk the whole chain and compare each entry with its hash, in one snapshot.

    ``anchor`` is a sequence number and the chain's hash there, in hex, as somebody wrote them down
    earlier: who rewrites the whole chain cannot rewrite that.
    """
    with one_snapshot():
        verification = Verification()
        last_xid = _walk(verification, anchor)
        _look_beside(verification, last_xid)
        _check_days(verification)
    return verification


def _walk(verification: Verification, anchor: tuple[int, str] | None) -> int:
    """Follow the chain from its beginning; return the transaction that it ends with."""
    chain, expected, last_xid = GENESIS, 1, 0
    for seals in _chunks():
        hashes = hashes_of([seal.entry_id for seal in seals])
        for seal in seals:
            now = hashes.get(seal.entry_id)
            if now is None:
                verification.found("missing", f"entry {seal.entry_id}")
            elif now != bytes(seal.entry_hash):
                verification.found("tampered", f"entry {seal.entry_id}")
            chain = link(chain, bytes(seal.entry_hash))
            if seal.sequence != expected or chain != bytes(seal.chain_hash):
                verification.found("seal", f"seal {seal.sequence} of entry {seal.entry_id}")
            # One broken seal is told once: what follows is held against what is written.
            chain, expected, last_xid = bytes(seal.chain_hash), seal.sequence + 1, seal.booked_xid
            if anchor and seal.sequence == anchor[0] and chain.hex() != anchor[1].lower():
                verification.found("anchor", f"seal {seal.sequence}")
        verification.sealed = seals[-1].sequence
        verification.entry_id, verification.sealed_at = seals[-1].entry_id, seals[-1].sealed_at
    verification.chain_hash = chain.hex()
    if anchor and anchor[0] >= expected:
        verification.found("anchor", f"seal {anchor[0]}")
    return last_xid


def _chunks() -> Iterator[list[SealedEntry]]:
    reached = 0
    while seals := list(
        SealedEntry.objects.filter(sequence__gt=reached).order_by("sequence")[:CHUNK]
    ):
        yield seals
        reached = seals[-1].sequence


def _look_beside(verification: Verification, last_xid: int) -> None:
    """Find what the chain does not know of: slipped in before its end, or waiting after it."""
    end = [last_xid, verification.entry_id or 0]
    with connection.cursor() as cursor:
        cursor.execute(SLIPPED_IN, [*end, FINDINGS_MAX])
        for (pk,) in cursor.fetchall():
            verification.found("inserted", f"entry {pk}")
        cursor.execute(ORPHANS, [FINDINGS_MAX])
        for pk, entry_id in cursor.fetchall():
            verification.found("orphan", f"posting {pk} of entry {entry_id}")
        cursor.execute(WAITING, end)
        verification.waiting, verification.waiting_since = cursor.fetchone()


def _check_days(verification: Verification) -> None:
    """Compare what each closed day kept with what its entries come to."""
    before: ClosedDay | None = None
    for closed in ClosedDay.objects.order_by("day"):
        with connection.cursor() as cursor:
            cursor.execute(MOVED, [closed.day, before.day if before else None])
            moved = {(code, asset): (tiyn, units) for code, asset, tiyn, units in cursor.fetchall()}
        if totals_after(before.totals if before else [], moved) != closed.totals:
            verification.found("day", f"day {closed.day}")
        before = closed
