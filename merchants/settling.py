"""Bring invoices and the ledger in line with what the chains did.

Cursor, invoices, ledger entries and events of one batch move in one transaction. Locks, in this
order: the network's cursor, the invoices by id, the shops' books by name, new accounts by code and
beneficiary. Each invoice has a savepoint: what cannot be applied is set apart,
and everything else goes on.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Final
from uuid import UUID

from django.db import (
    InterfaceError,
    OperationalError,
    ProgrammingError,
    connection,
    transaction,
)
from django.db.models import Sum, prefetch_related_objects
from structlog.contextvars import bound_contextvars

from chains.transfers import TransferFact, TransferState, changes_since, transfer_named
from merchants.invoices import MINED, due_of
from merchants.models import Invoice, InvoicePayment, TransferCursor
from merchants.outbox import record_event
from merchants.quarantine import release, set_apart, set_apart_now
from merchants.states import Status, move
from settlement.clock import database_now
from settlement.entries import Receipt, Received, allocate, book_receipts, reverse_receipts
from settlement.ledger import lock_beneficiaries, open_accounts

BATCHES_MAX: Final = 100
"""One call's bound; the next beat goes on where it stopped."""
GONE: Final = (TransferState.DROPPED, TransferState.REPLACED)


def apply_transfers(*, network: str, limit: int = 500) -> list[UUID]:
    """Apply a network's changed transfers to invoices and ledger; return the invoices touched.

    Works in batches of ``limit``, each in its own transaction, until nothing is due. Raises
    OperationalError when the database is not well: the batch is applied whole later (R116).
    """
    touched: set[UUID] = set()
    for _batch in range(BATCHES_MAX):
        count, invoices = _apply_batch(network, limit)
        touched |= invoices
        if count < limit:
            break
    return sorted(touched)


def networks_applied() -> set[str]:
    """Networks that have brought transfers, those that left the registry too."""
    return set(TransferCursor.objects.values_list("network", flat=True))


def retry_quarantined() -> int:
    """Try the transfers in quarantine again, as they stand now; return how many went in."""
    applied = 0
    for row in list(set_apart_now()):
        with transaction.atomic():
            TransferCursor.objects.select_for_update().filter(network=row.network).first()
            fact = transfer_named(row.identity)
            _apply_all([fact] if fact else [])
            applied += not set_apart_now().filter(pk=row.pk).exists()
    return applied


@transaction.atomic
def _apply_batch(network: str, limit: int) -> tuple[int, set[UUID]]:
    rows = TransferCursor.objects.filter(network=network)
    if not rows.exists():
        if not changes_since(network=network, revision=0, limit=1):
            return 0, set()  # a name that no scan knows leaves no row
        rows.get_or_create(network=network)
    cursor = rows.select_for_update().get()
    changes = changes_since(network=network, revision=cursor.revision, limit=limit)
    if not changes:
        return 0, set()
    touched = _apply_all(changes)
    cursor.revision = changes[-1].revision
    cursor.save(update_fields=["revision"])
    return len(changes), touched


def _apply_all(facts: Sequence[TransferFact]) -> set[UUID]:
    by_reference: dict[str, list[TransferFact]] = {}
    for fact in facts:
        by_reference.setdefault(fact.reference, []).append(fact)
    ids = [pk for pk in map(_invoice_id, by_reference) if pk is not None]
    rows = Invoice.objects.select_for_update().filter(pk__in=ids).order_by("pk")
    invoices = {str(invoice.pk): invoice for invoice in rows}
    shops = {str(invoice.shop_id) for invoice in invoices.values()}
    lock_beneficiaries(shops)
    open_accounts(beneficiaries=shops)
    now = database_now()
    applied: list[TransferFact] = []
    for reference in sorted(by_reference):
        invoice = invoices.get(reference)
        if invoice is None:
            for fact in by_reference[reference]:
                set_apart(fact, reason="its address was not given out for an invoice")
            continue
        before = invoice.status
        with bound_contextvars(invoice=reference):
            done = _apply_or_set_apart(invoice, by_reference[reference], now)
        if done:
            _tell(invoice, before, done)
        applied += done
    release(applied)
    return {UUID(fact.reference) for fact in applied}


def _apply_or_set_apart(
    invoice: Invoice, facts: Sequence[TransferFact], now: datetime
) -> list[TransferFact]:
    """Apply facts in a savepoint, by halves where that fails; return those that went in."""
    try:
        with transaction.atomic():
            _apply(invoice, facts, now)
            with connection.cursor() as cursor:
                # What would fail at commit must fail here, where it stops nobody else.
                cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")
                cursor.execute("SET CONSTRAINTS ALL DEFERRED")
    except (OperationalError, InterfaceError, ProgrammingError):
        raise  # not this invoice's fault: the whole batch waits
    except Exception as error:  # noqa: BLE001 -- one invoice must not stop a network
        invoice.refresh_from_db()
        if len(facts) == 1:
            set_apart(facts[0], reason=f"{type(error).__name__}: {error}")
            return []
        half = len(facts) // 2
        return [
            *_apply_or_set_apart(invoice, facts[:half], now),
            *_apply_or_set_apart(invoice, facts[half:], now),
        ]
    return list(facts)


def _apply(invoice: Invoice, facts: Sequence[TransferFact], now: datetime) -> None:
    """Bring one invoice, its payments and its ledger entries in line with some facts."""
    prefetch_related_objects([invoice], "options")
    payments = _payments(invoice, facts)
    # A booked payment that a reorganisation sent back to the mempool stays booked while it waits
    # to be mined again (R1); it is taken back once another took its place or nobody knows it (R5).
    taken = [one for one in payments if one.booked and one.state in GONE]
    came = [one for one in payments if not one.booked and one.state == TransferState.FINAL]
    _book(invoice, came=came, taken=taken, now=now)
    InvoicePayment.objects.bulk_create(
        payments,
        update_conflicts=True,
        unique_fields=["identity"],
        update_fields=["state", "on_time", "booked"],
    )
    is_settled = invoice.status == Status.SETTLED
    if came or taken:
        is_settled = _allocate(invoice, now)
    move(invoice, _status_of(invoice, is_settled=is_settled), now=now)


def _payments(invoice: Invoice, facts: Sequence[TransferFact]) -> list[InvoicePayment]:
    """The facts' payments as they stand now; they are not saved yet.

    A payment is in time when it was first seen before the invoice expired and its block's time is
    before ``confirm_by``: a fee too low for any miner must not hold a rate open (R24). What was
    booked in time stays so, wherever it is mined again (R3).
    """
    identities = [fact.identity for fact in facts]
    known = {one.identity: one for one in InvoicePayment.objects.filter(identity__in=identities)}
    payments = []
    for fact in facts:
        payment = known.get(fact.identity) or InvoicePayment(
            invoice=invoice,
            identity=fact.identity,
            asset=fact.asset,
            txid=fact.txid,
            quantity=fact.value,
        )
        payment.state = fact.state
        if not payment.booked:
            payment.on_time = fact.first_seen_at <= invoice.expires_at and (
                fact.state not in MINED
                or (fact.included_at is not None and fact.included_at <= invoice.confirm_by)
            )
        payments.append(payment)
    return payments


def _book(
    invoice: Invoice,
    *,
    came: Sequence[InvoicePayment],
    taken: Sequence[InvoicePayment],
    now: datetime,
) -> None:
    quotes = {one.asset: one.quote_id for one in invoice.options.all()}
    shop = str(invoice.shop_id)
    if taken:
        sources = [one.identity for one in taken]
        reverse_receipts(
            beneficiary=shop, sources=sources, reason="chain reorganised", effective_at=now
        )
    if came:
        receipts = [
            Receipt(
                source=one.identity,
                asset=one.asset,
                quote_id=quotes.get(one.asset),
                quantity=int(one.quantity),
            )
            for one in came
        ]
        book_receipts(demand=str(invoice.pk), beneficiary=shop, receipts=receipts, effective_at=now)
    for payment in came:
        payment.booked = True
    for payment in taken:
        payment.booked = False


def _allocate(invoice: Invoice, now: datetime) -> bool:
    """Have the ledger say whom everything booked belongs to; True when it pays the invoice."""
    booked = invoice.payments.filter(booked=True).order_by().values_list("asset", "on_time")
    totals = {
        (asset, on_time): int(total)
        for asset, on_time, total in booked.annotate(total=Sum("quantity"))
    }
    received = [
        Received(
            quote_id=option.quote_id,
            on_time=totals.get((option.asset, True), 0),
            late=totals.get((option.asset, False), 0),
        )
        for option in invoice.options.all()
    ]
    allocation = allocate(
        demand=str(invoice.pk),
        beneficiary=str(invoice.shop_id),
        amount_tiyn=invoice.amount_tiyn,
        received=received,
        effective_at=now,
    )
    return allocation.is_settled


def _status_of(invoice: Invoice, *, is_settled: bool) -> Status:
    """What the invoice's payments say now; time alone is left to ``expire_invoices``."""
    before = Status(invoice.status)
    if is_settled:
        return Status.SETTLED
    if before in {Status.SETTLED, Status.REVERSED}:
        return Status.REVERSED
    due = due_of(invoice)
    if before is Status.EXPIRED:
        return Status.PROCESSING if due.is_met else before
    return Status.PROCESSING if due.left_tiyn < invoice.amount_tiyn else Status.NEW


def _tell(invoice: Invoice, before: str, facts: Sequence[TransferFact]) -> None:
    """Record one event for everything that a batch did to an invoice (R26)."""
    moved = invoice.status != before
    kind = f"invoice.{invoice.status}" if moved else "invoice.payment"
    payload: dict[str, str | int] = {"status": invoice.status}
    priced = {option.asset for option in invoice.options.all()}
    if unpriced := sum(fact.asset not in priced for fact in facts):
        # No price was promised for them, so people must look.
        payload["unpriced"] = unpriced
    record_event(invoice=invoice, kind=kind, payload=payload)


def _invoice_id(reference: str) -> UUID | None:
    try:
        return UUID(reference)
    except ValueError:
        return None
