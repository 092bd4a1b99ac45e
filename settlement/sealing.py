"""Seal the journal behind its writers: each entry's hash, and a chain over them, in batches.

Writers wait for nothing: they only note their transaction (``booked_xid``). The sealer takes what
was booked by transactions older than any that still runs, in the order of transaction and id, so
that an entry in flight is never jumped over: none can come any more that belongs before.
"""

from typing import Final

from django.db import connection, transaction

from settlement.canonical import GENESIS, hashes_of, link
from settlement.ledger import LedgerError
from settlement.models import SealedEntry

BATCH: Final = 2_000
DUE: Final = """
    SELECT id, booked_xid FROM settlement_journalentry
    WHERE (booked_xid, id) > (%s, %s)
      AND booked_xid < pg_snapshot_xmin(pg_current_snapshot())::text::bigint
    ORDER BY booked_xid, id LIMIT %s
"""


class SealError(LedgerError):
    """The chain cannot go on."""


def seal_entries() -> int:
    """Seal all entries that are due, batch by batch; return how many."""
    total = 0
    while sealed := seal_batch():
        total += sealed
    return total


@transaction.atomic
def seal_batch(*, limit: int = BATCH) -> int:
    """Seal at most ``limit`` entries; return how many, 0 also while another process seals.

    Raises SealError where transactions are younger than sealed ones: a dump was restored into a new
    cluster, whose counter must first be raised (``docs/ledger.md``).
    """
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_try_advisory_xact_lock(4, 2)")
        if not cursor.fetchone()[0]:
            return 0
        last = SealedEntry.objects.order_by("-sequence").first()
        last_xid, last_id = (last.booked_xid, last.entry_id) if last else (0, 0)
        cursor.execute("SELECT pg_snapshot_xmin(pg_current_snapshot())::text::bigint")
        oldest = cursor.fetchone()[0]
        if oldest <= last_xid:
            raise SealError(f"transaction {oldest} runs, but {last_xid} is sealed already")
        cursor.execute(DUE, [last_xid, last_id, limit])
        due = cursor.fetchall()
    hashes = hashes_of([pk for pk, _xid in due])
    chain, sequence = (bytes(last.chain_hash), last.sequence) if last else (GENESIS, 0)
    sealed = []
    for place, (pk, xid) in enumerate(due, sequence + 1):
        chain = link(chain, hashes[pk])
        sealed.append(
            SealedEntry(
                sequence=place,
                entry_id=pk,
                booked_xid=xid,
                entry_hash=hashes[pk],
                chain_hash=chain,
            )
        )
    SealedEntry.objects.bulk_create(sealed)
    return len(sealed)
