"""What must hold after every commit: CASES.md's I1 to I7, and what a scanner owes its chain."""

from collections import Counter
from datetime import datetime
from fractions import Fraction
from itertools import pairwise
from typing import Any

from chains.assets import Network
from merchants.states import EDGES
from tests.simulation import recount
from tests.simulation.recount import Held
from tests.simulation.stored import (
    STANDING,
    Stored,
    StoredBlock,
    StoredInvoice,
    StoredTransfer,
    look,
)
from tests.simulation.world import ViolationError, World


class Invariants:
    """Holds what was seen before, to tell what moved."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._digests: dict[int, str] = {}
        self._invoices: dict[str, tuple[str, Counter[str]]] = {}
        self._final: set[tuple[tuple[str, str, str], int]] = set()
        self._revisions: dict[str, int] = {}
        self._blocks: dict[str, dict[int, str]] = {}
        self.stored_at: dict[Held, datetime] = {}
        """When each variant of an output was first found stored, by the database's clock."""

    def check(self) -> Stored:
        """Check all that must hold at any moment; return what stands. Raises ViolationError."""
        stored = look(self._world)
        for reason in stored.quarantined:
            raise ViolationError(f"I2: a transfer was set apart: {reason}")
        self._check_ledger(stored)
        self._check_chain(stored)
        self._check_transfers(stored)
        self._check_promptness(stored)
        self._check_finality(stored)
        for invoice in stored.invoices:
            self._check_invoice(invoice, stored)
        return stored

    def _check_ledger(self, stored: Stored) -> None:
        reversed_ids = {one.reverses_id for one in stored.entries}
        credited: Counter[str] = Counter()
        for entry in stored.entries:
            if entry.balance or entry.lines < 2:
                raise ViolationError(f"I1: {entry} does not balance")
            if self._digests.get(entry.id, entry.digest) != entry.digest:
                raise ViolationError(f"I4: {entry} changed")
            if entry.kind == "receipt" and entry.id not in reversed_ids:
                credited[entry.subject.partition("~")[0]] += 1
        digests = {entry.id: entry.digest for entry in stored.entries}
        if self._digests.keys() - digests.keys():
            raise ViolationError("I4: a posted entry vanished")
        self._digests = digests
        for subject, count in credited.items():
            if count > 1:
                raise ViolationError(f"I3: {subject} is credited {count} times")

    def _check_chain(self, stored: Stored) -> None:
        """The blocks that count are one unbroken chain that ends at the cursor."""
        for cursor in stored.cursors:
            if cursor.revision < self._revisions.get(cursor.network, 0):
                raise ViolationError(f"C1: the revision of {cursor.network} went back")
            self._revisions[cursor.network] = cursor.revision
            blocks = [one for one in stored.blocks if one.network == cursor.network]
            self._check_rewind(cursor.network, blocks)
            if not blocks or (blocks[0].height, blocks[0].hash) != (cursor.height, cursor.hash):
                raise ViolationError(f"C1: {cursor} is not at the last block that counts")
            for above, below in pairwise(blocks):
                if (above.parent_hash, above.height) != (below.hash, below.height + 1):
                    raise ViolationError(f"C1: {above} does not follow {below}")

    def _check_rewind(self, network: str, blocks: list[StoredBlock]) -> None:
        """A block is taken back only for another that some node had in its place (R15)."""
        now = {block.height: block.hash for block in blocks}
        before, self._blocks[network] = self._blocks.get(network, {}), now
        lost = sorted(height for height in before if now.get(height) != before[height])
        if lost and not any(
            rival is not None and rival.hash != before[lost[0]]
            for server in self._world.servers[network]
            for best in server.told
            for rival in (best.at(lost[0]),)
        ):
            raise ViolationError(f"C4: block {lost[0]} of {network} was taken back for none")

    def _check_transfers(self, stored: Stored) -> None:
        """Each block that counts holds exactly what it pays us, and nothing stands twice."""
        standing = Counter(one.key for one in stored.transfers if one.state in STANDING)
        for key, count in standing.items():
            if count > 1:
                raise ViolationError(f"I3: {key} stands {count} times")
        self._check_blocks(stored)

    def _check_blocks(self, stored: Stored) -> None:
        mined: dict[str | None, list[Held]] = {block.hash: [] for block in stored.blocks}
        for one in stored.transfers:
            self.stored_at.setdefault(one.held, self._world.clock.now)
            if (one.state in {"included", "final"}) != (one.block_hash is not None):
                raise ViolationError(f"C2: {one} has the wrong block")
            if one.block_hash is not None:
                if one.block_hash not in mined:
                    raise ViolationError(f"C2: {one} stands in no block that counts")
                mined[one.block_hash].append(one.held)
        for block in stored.blocks:
            truth = self._world.block_of(block.network, block.hash)
            held = [one for _tx, one in recount.held_in(self._world, block.network, truth)]
            if sorted(mined[block.hash]) != sorted(held):
                raise ViolationError(f"C2: {block} holds {held}, stored is {mined[block.hash]}")

    def _check_promptness(self, stored: Stored) -> None:
        """What waited in every mempool while a scan came to its end is stored and stands."""
        known = {one.key for one in stored.transfers if one.state in STANDING}
        for caip2, txid in sorted(self._world.promised):
            tx = self._world.chains[caip2].transactions[txid]
            for held in recount.paid_by(self._world, caip2, tx):
                if (held.network, held.txid, held.position) not in known:
                    raise ViolationError(f"P1: {held} waits in every mempool and was not seen")

    def _check_finality(self, stored: Stored) -> None:
        final = {(one.key, one.variant): one for one in stored.transfers if one.state == "final"}
        fresh = [one for name, one in final.items() if name not in self._final]
        waiting = [one for one in stored.transfers if one.state == "included"]
        for one in fresh:
            # Parts that wait together for one address count as one sum.
            together = sum(
                other.held.value
                for other in (*fresh, *waiting)
                if (other.held.script, other.held.asset) == (one.held.script, one.held.asset)
            )
            self._check_depth(one, together)
        self._final = set(final)

    def _check_depth(self, one: StoredTransfer, together: int) -> None:
        """What has become final is as deep as the policy asks (R19, R29, R36)."""
        network = self._world.networks[one.held.network]
        chain = self._world.chains[network.caip2]
        block = chain.blocks.get(one.block_hash or "")
        if block is None:
            raise ViolationError(f"C3: {one} is final on another chain")
        needed = _needed(network, one.held.asset, together)
        if chain.transactions[one.held.txid].is_coinbase:
            needed = max(needed, recount.COINBASE_MATURITY)
        depth = self._world.told_height(network.caip2) - block.height + 1
        if depth < needed:
            raise ViolationError(f"C3: {one} is final at {depth} of {needed}")
        if not needed and block.height > chain.finalized.height:
            raise ViolationError(f"C3: {one} is final above the finalised block")
        for server in self._world.voters:
            final = server.best.height - needed + 1 if needed else server.finalized.height
            if server.chain is not chain or needed == recount.COINBASE_MATURITY:
                continue
            if block.height > final or server.best.at(block.height) is not block:
                raise ViolationError(f"C5: {one} is not final for {server.name}")

    def _check_invoice(self, invoice: StoredInvoice, stored: Stored) -> None:
        """A status moves only along declared edges, and every move has its one event."""
        told = Counter(
            kind.partition(".")[2]
            for kind in invoice.events
            if any(kind == f"invoice.{one}" for one in EDGES)
        )
        before, earlier = self._invoices.get(invoice.id, ("new", Counter()))
        if earlier - told:
            raise ViolationError(f"I7: {earlier - told} of {invoice.id} vanished")
        steps = list((told - earlier).elements())
        if not _leads(before, steps, invoice.status):
            raise ViolationError(
                f"I5 I7: {invoice.id} went from {before} to {invoice.status} by {steps}"
            )
        earned = invoice.amount_tiyn if invoice.status == "settled" else 0
        if invoice.payable_tiyn != earned:
            raise ViolationError(f"I2: {invoice} earned its shop {invoice.payable_tiyn} tiyn")
        if invoice.status == "expired" and "expired" in steps:
            self._check_expiry(invoice, stored)
        self._invoices[invoice.id] = (invoice.status, told)

    def _check_expiry(self, invoice: StoredInvoice, stored: Stored) -> None:
        """An invoice expires when it is over and seen to be unpaid, by open eyes (R15, R25)."""
        now = self._world.clock.now
        if invoice.expires_at > now:
            raise ViolationError(f"E1: {invoice.id} expired before its time")
        seen_at = {one.network: one.caught_up_at for one in stored.cursors}
        for network in invoice.networks:
            caught_up_at = seen_at.get(network)
            if caught_up_at is None or caught_up_at < invoice.expires_at:
                raise ViolationError(f"E1: {invoice.id} expired before {network} was read so far")
        paid: Counter[str] = Counter()
        for one in stored.transfers:
            if (
                one.reference == invoice.id
                and one.state in STANDING
                and one.first_seen_at <= invoice.expires_at
                and self.stored_at[one.held] < self._world.task_began_at
                and self._came_in_time(one, invoice)
            ):
                paid[one.held.asset] += one.held.value
        worth = recount.worth_tiyn(paid, prices_of(self._world, invoice.id))
        if worth >= invoice.amount_tiyn:
            raise ViolationError(f"E1: {invoice.id} expired although it was paid in time")

    def _came_in_time(self, one: StoredTransfer, invoice: StoredInvoice) -> bool:
        """Whether a payment stands in a block in time, or has time left to come into one."""
        if one.block_hash is None:
            return self._world.clock.now <= invoice.confirm_by
        block = self._world.block_of(one.held.network, one.block_hash)
        return block.time <= invoice.confirm_by


def prices_of(world: World, invoice: str) -> dict[str, tuple[Fraction, int]]:
    """Tiyn for a whole coin, and decimals, that an invoice's locked quotes promise, by asset."""
    rows = world.rows(
        "SELECT q.asset, q.price_tiyn, q.decimals FROM merchants_paymentoption o "
        "JOIN settlement_quote q ON q.id = o.quote_id WHERE o.invoice_id = %s",
        invoice,
    )
    return {asset: (Fraction(price), decimals) for asset, price, decimals in rows}


def _needed(network: Network, asset: str, value: int) -> int:
    """Confirmations that the policy asks for a sum; 0 leaves it to the network."""
    fitting = [
        tier for tier in network.finality_tiers if tier.asset == asset and value <= tier.value_max
    ]
    lowest = min(fitting, key=lambda tier: tier.value_max, default=None)
    return lowest.confirmations if lowest else network.final_confirmations


def _leads(before: str, steps: list[str], after: str) -> bool:
    """Whether declared edges lead from one status to another by exactly these events."""
    if not steps:
        return before == after
    return any(
        _leads(step, [*steps[:place], *steps[place + 1 :]], after)
        for place, step in enumerate(steps)
        if any(edge.value == step for edge in EDGES[_status(before)])
    )


def _status(value: str) -> Any:  # noqa: ANN401 -- the enumeration lives in the code under test
    return next(one for one in EDGES if one.value == value)
