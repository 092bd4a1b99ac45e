"""What stands committed, in one look: the code under test has no part in judging itself."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from tests.simulation.clock import EPOCH
from tests.simulation.recount import Held
from tests.simulation.world import World

STANDING: Final = frozenset({"seen", "included", "final"})

LOOK: Final = """
SELECT
(SELECT coalesce(json_agg(r ORDER BY r.id), '[]') FROM (
    SELECT e.id, e.kind, e.subject, e.reverses_id, sum(p.amount_tiyn) AS balance,
           count(p.id) AS lines, md5(e::text || string_agg(p::text, ',' ORDER BY p.id)) AS digest
    FROM settlement_journalentry e LEFT JOIN settlement_posting p ON p.entry_id = e.id
    GROUP BY e.id) r),
(SELECT coalesce(json_agg(r ORDER BY r.network), '[]') FROM (
    SELECT network, height, hash, revision, moment(caught_up_at) AS caught_up_at
    FROM chains_cursor) r),
(SELECT coalesce(json_agg(r ORDER BY r.height DESC), '[]') FROM (
    SELECT network, height, hash, parent_hash FROM chains_block WHERE canonical) r),
(SELECT coalesce(json_agg(r ORDER BY r.id), '[]') FROM (
    SELECT t.id, t.network, t.txid, t.position, t.asset, encode(a.script, 'hex') AS script,
           t.value::text, t.state, b.hash AS block_hash, t.variant, t.replaced_by, a.reference,
           moment(t.first_seen_at) AS first_seen_at
    FROM chains_transfer t JOIN chains_address a ON a.id = t.address_id
    LEFT JOIN chains_block b ON b.id = t.block_id) r),
(SELECT coalesce(json_agg(r ORDER BY r.id), '[]') FROM (
    SELECT i.id, i.shop_id, i.status, i.amount_tiyn, moment(i.expires_at) AS expires_at,
           moment(i.confirm_by) AS confirm_by,
           (SELECT coalesce(-sum(p.amount_tiyn), 0) FROM settlement_posting p
            JOIN settlement_account a ON a.id = p.account_id AND a.code = 'merchant_payable'
            JOIN settlement_journalentry e ON e.id = p.entry_id
            WHERE e.demand = i.id::text) AS payable_tiyn,
           (SELECT coalesce(json_agg(type ORDER BY type), '[]') FROM merchants_outboxevent e
            WHERE e.invoice_id = i.id) AS events,
           (SELECT coalesce(json_agg(DISTINCT o.network), '[]') FROM merchants_paymentoption o
            WHERE o.invoice_id = i.id AND o.address <> '') AS networks
    FROM merchants_invoice i) r),
(SELECT coalesce(json_agg(reason ORDER BY id), '[]') FROM merchants_quarantinedtransfer)
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A journal entry with its postings summed up."""

    id: int
    kind: str
    subject: str
    reverses_id: int | None
    balance: int
    lines: int
    digest: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Cursor:
    """How far a network was scanned."""

    network: str
    height: int
    hash: str
    revision: int
    caught_up_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredBlock:
    """A block that counts."""

    network: str
    height: int
    hash: str
    parent_hash: str


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredTransfer:
    """One variant of one output."""

    held: Held
    state: str
    block_hash: str | None
    variant: int
    replaced_by: str
    reference: str
    first_seen_at: datetime

    @property
    def key(self) -> tuple[str, str, str]:
        """The output's name, whatever its facts."""
        return self.held.network, self.held.txid, self.held.position

    @property
    def identity(self) -> str:
        """The name under which merchants and the ledger know this variant."""
        return "/".join(self.key) + (f"~{self.variant}" if self.variant else "")


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredInvoice:
    """An invoice, the types of its events, and the networks that it has an address on."""

    id: str
    shop_id: str
    status: str
    amount_tiyn: int
    expires_at: datetime
    confirm_by: datetime
    payable_tiyn: int
    events: tuple[str, ...]
    networks: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Stored:
    """Everything that the invariants speak of."""

    entries: tuple[Entry, ...]
    cursors: tuple[Cursor, ...]
    blocks: tuple[StoredBlock, ...]
    transfers: tuple[StoredTransfer, ...]
    invoices: tuple[StoredInvoice, ...]
    quarantined: tuple[str, ...]


def look(world: World) -> Stored:
    """Read what stands committed now."""
    entries, cursors, blocks, transfers, invoices, quarantined = world.rows(LOOK)[0]
    return Stored(
        entries=tuple(Entry(**row) for row in entries),
        cursors=tuple(
            Cursor(**{**row, "caught_up_at": _moment(row["caught_up_at"])}) for row in cursors
        ),
        blocks=tuple(StoredBlock(**row) for row in blocks),
        transfers=tuple(_transfer(row) for row in transfers),
        invoices=tuple(
            StoredInvoice(
                **{
                    **row,
                    "expires_at": _moment(row["expires_at"]),
                    "confirm_by": _moment(row["confirm_by"]),
                    "events": tuple(row["events"]),
                    "networks": tuple(row["networks"]),
                }
            )
            for row in invoices
        ),
        quarantined=tuple(quarantined),
    )


def _transfer(row: dict[str, Any]) -> StoredTransfer:
    held = Held(
        network=row["network"],
        txid=row["txid"],
        position=row["position"],
        asset=row["asset"],
        script=bytes.fromhex(row["script"]),
        value=int(row["value"]),
    )
    names = ("state", "block_hash", "variant", "replaced_by", "reference")
    moment = EPOCH + timedelta(microseconds=row["first_seen_at"])
    return StoredTransfer(held=held, first_seen_at=moment, **{name: row[name] for name in names})


def _moment(microseconds: int | None) -> datetime | None:
    return None if microseconds is None else EPOCH + timedelta(microseconds=microseconds)
