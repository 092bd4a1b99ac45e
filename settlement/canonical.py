"""An entry as bytes that everybody writes alike, and its hash (docs/ledger.md, "The chain").

A JSON array in UTF-8 without white space and with nothing escaped that need not be::

    ["alatau-entry-1", id, kind, source, subject, demand, reverses, memo,
     occurred_at, effective_at, booked_at, quote, postings]

Times are UTC, ``YYYY-MM-DDTHH:MM:SS.ffffff+00:00``. ``quote`` is null or
``[id, asset, decimals, amount in tiyn, quantity, price in tiyn]``, a posting
``[id, account, beneficiary, tiyn, asset, quantity, balance]``, by id. Quantities and the price
(with its 18 decimal places) are text, for they are wider than a JSON number is safe.
"""

import json
from collections.abc import Collection
from datetime import UTC, datetime
from hashlib import sha256
from typing import Final

from settlement.models import JournalEntry, Posting

GENESIS: Final = bytes(32)
"""What the first link follows."""


def hashes_of(ids: Collection[int]) -> dict[int, bytes]:
    """SHA-256 of each entry as it stands now, by id; one that is not there has none."""
    postings: dict[int, list[object]] = {pk: [] for pk in ids}
    rows = Posting.objects.filter(entry_id__in=ids).order_by("pk")
    for entry_id, pk, code, owner, tiyn, asset, units, balance in rows.values_list(
        "entry_id",
        "pk",
        "account__code",
        "account__beneficiary",
        "amount_tiyn",
        "asset",
        "quantity",
        "balance_tiyn",
    ):
        postings[entry_id].append([pk, code, owner, tiyn, asset, f"{units:f}", balance])
    entries = JournalEntry.objects.filter(pk__in=ids).select_related("quote")
    return {entry.pk: sha256(canonical(entry, postings[entry.pk])).digest() for entry in entries}


def canonical(entry: JournalEntry, postings: list[object]) -> bytes:
    """An entry and its postings, already in their form, as bytes."""
    quote = entry.quote
    fields = [
        "alatau-entry-1",
        entry.pk,
        entry.kind,
        entry.source,
        entry.subject,
        entry.demand,
        entry.reverses_id,
        entry.memo,
        _moment(entry.occurred_at),
        _moment(entry.effective_at),
        _moment(entry.booked_at),
        [
            str(quote.pk),
            quote.asset,
            quote.decimals,
            quote.amount_tiyn,
            f"{quote.quantity:f}",
            f"{quote.price_tiyn:f}",
        ]
        if quote
        else None,
        postings,
    ]
    return json.dumps(fields, ensure_ascii=False, separators=(",", ":")).encode()


def link(before: bytes, entry_hash: bytes) -> bytes:
    """The chain's hash after one more entry."""
    return sha256(before + entry_hash).digest()


def _moment(at: datetime) -> str:
    return at.astimezone(UTC).isoformat(timespec="microseconds")
