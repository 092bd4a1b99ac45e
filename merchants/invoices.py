"""Invoices: issued in tenge, paid in coins, moved only along the edges declared here."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from fractions import Fraction
from typing import Final
from uuid import UUID

from django.db import transaction
from django.db.models import Q
from django.db.models.functions import Now
from django.utils import timezone

from chains.addresses import allocate_address
from chains.networks import registry
from chains.payment_uris import payment_uri
from chains.transfers import (
    TransferFact,
    TransferState,
    caught_up_at,
    changes_since,
    last_revision,
)
from merchants.models import Invoice, InvoicePayment, PaymentOption, Shop, TransferCursor
from merchants.outbox import record_event
from settlement.entries import book_receipt, paid_tiyn_of, reverse_receipt
from settlement.money import exact_int
from settlement.rates.quoting import lock_quotes, quantity_for, quotes_of, worth_exact
from settlement.rates.sources import RateSource, configured_source

Status = Invoice.Status

EDGES: Final[Mapping[Status, frozenset[Status]]] = {
    Status.NEW: frozenset({Status.PROCESSING, Status.SETTLED, Status.EXPIRED}),
    Status.PROCESSING: frozenset({Status.NEW, Status.SETTLED, Status.EXPIRED}),
    Status.SETTLED: frozenset({Status.REVERSED}),
    Status.EXPIRED: frozenset({Status.SETTLED}),
    Status.REVERSED: frozenset({Status.SETTLED}),
}
"""Expired to settled is a payment that was broadcast in time and found late."""

COUNTED: Final = (TransferState.SEEN, TransferState.INCLUDED, TransferState.FINAL)
GONE: Final = (TransferState.DROPPED, TransferState.REPLACED)
BLIND_AFTER: Final = timedelta(minutes=2)


class InvoiceError(Exception):
    """The invoice cannot be issued or paid so; the message is for developers."""


class IllegalEdgeError(InvoiceError):
    """A move that the table of edges does not declare: a bug, never a payer's doing."""


@transaction.atomic
def issue_invoice(
    *,
    shop_id: UUID,
    amount_tiyn: int,
    description: str = "",
    order_id: str = "",
    expires_in: timedelta = timedelta(minutes=15),
    source: RateSource | None = None,
) -> Invoice:
    """Issue an invoice and lock its price in every listed asset.

    Raises InvoiceError for a shop that is not approved or an amount that is not positive,
    RateUnavailableError, RegistryError.
    """
    if exact_int(amount_tiyn, name="amount_tiyn") <= 0:
        raise InvoiceError("The amount must be positive.")
    shop = Shop.objects.select_for_update().get(pk=shop_id)
    if shop.status != Shop.Status.APPROVED:
        raise InvoiceError("The shop is not approved.")
    expires_at = timezone.now() + expires_in
    invoice = Invoice.objects.create(
        shop=shop,
        amount_tiyn=amount_tiyn,
        description=description,
        order_id=order_id,
        expires_at=expires_at,
    )
    listed = registry().assets
    quotes = lock_quotes(
        amount_tiyn=amount_tiyn,
        assets=list(listed.values()),
        expires_at=expires_at,
        source=source or configured_source(),
    )
    PaymentOption.objects.bulk_create(
        PaymentOption(
            invoice=invoice,
            asset=quote.asset,
            symbol=listed[quote.asset].symbol,
            network=quote.asset.partition("/")[0],
            quote_id=quote.id,
            quantity=quote.quantity,
        )
        for quote in quotes
    )
    record_event(invoice=invoice, kind="invoice.created", payload={"status": invoice.status})
    return invoice


@transaction.atomic
def choose_option(*, invoice: Invoice, asset: str) -> PaymentOption:
    """Give the invoice's option for a CAIP-19 asset its address, and return it.

    One address serves all assets of a network. Raises InvoiceError when the invoice takes no
    payment in it now.
    """
    locked = Invoice.objects.select_for_update().get(pk=invoice.pk)
    option = PaymentOption.objects.filter(invoice=locked, asset=asset).first()
    if option is None:
        raise InvoiceError("The invoice cannot be paid in this asset.")
    if not option.address:
        if locked.status not in {Status.NEW, Status.PROCESSING}:
            raise InvoiceError("The invoice takes no more payments.")
        network = registry().networks[option.network]
        option.address = allocate_address(network=network, reference=str(locked.pk)).text
        option.save(update_fields=["address"])
    return option


@dataclass(frozen=True, slots=True, kw_only=True)
class Due:
    """What an invoice still asks for; ``quantities`` are base units by CAIP-19, rounded up."""

    left_tiyn: Fraction
    quantities: Mapping[str, int]

    @property
    def is_met(self) -> bool:
        """Whether nothing is left to pay."""
        return self.left_tiyn <= 0


def due_of(invoice: Invoice) -> Due:
    """Reckon what the payments seen so far leave due, each at its own quote (R28); exact.

    Payments that came late do not count.
    """
    return _due_after(invoice, Q(state__in=COUNTED))


def _due_after(invoice: Invoice, counts: Q) -> Due:
    options = {option.asset: option for option in invoice.options.all()}
    quotes = quotes_of([option.quote_id for option in options.values()])
    paid = sum(
        (
            worth_exact(quotes[options[one.asset].quote_id], quantity=int(one.quantity))
            for one in invoice.payments.filter(counts, on_time=True, asset__in=options)
        ),
        start=Fraction(0),
    )
    left = max(Fraction(0), invoice.amount_tiyn - paid)
    quantities = {
        asset: quantity_for(quotes[option.quote_id], amount_tiyn=left)
        for asset, option in options.items()
    }
    return Due(left_tiyn=left, quantities=quantities)


def uri_of(option: PaymentOption, *, quantity: int) -> str:
    """The URI that asks for ``quantity`` base units, once the option has its address.

    BIP-21 or EIP-681.
    """
    listed = registry()
    return payment_uri(
        network=listed.networks[option.network],
        asset=listed.assets[option.asset],
        address=option.address,
        value=quantity,
    )


def apply_transfers(*, network: str, limit: int = 500) -> list[UUID]:
    """Apply a network's changed transfers to invoices and ledger; return the invoices touched.

    Cursor, invoices, ledger entries and events move in one transaction. Locks: the network's
    cursor, then invoices in the order of their ids, then quotes.
    """
    with transaction.atomic():
        TransferCursor.objects.get_or_create(network=network)
        cursor = TransferCursor.objects.select_for_update().get(network=network)
        changes = changes_since(network=network, revision=cursor.revision, limit=limit)
        by_invoice: dict[UUID, list[TransferFact]] = {}
        for fact in changes:
            by_invoice.setdefault(UUID(fact.reference), []).append(fact)
        for invoice_id in sorted(by_invoice):
            _apply(Invoice.objects.select_for_update().get(pk=invoice_id), by_invoice[invoice_id])
        if changes:
            cursor.revision = changes[-1].revision
            cursor.save(update_fields=["revision"])
    return sorted(by_invoice)


def expire_invoices(*, limit: int = 500) -> int:
    """Expire open invoices whose time is over by the database's clock; return how many.

    An invoice whose payment in full was seen in time goes on; so does every invoice while a
    network that could have brought its payment is not being read (R15, R25, R71).
    """
    due = Invoice.objects.filter(status__in=[Status.NEW, Status.PROCESSING], expires_at__lte=Now())
    expired = 0
    for pk in due.order_by("expires_at").values_list("pk", flat=True)[:limit]:
        with transaction.atomic():
            invoice = due.select_for_update(skip_locked=True).filter(pk=pk).first()
            if invoice is None or _is_blind(invoice) or due_of(invoice).is_met:
                continue
            _move(invoice, Status.EXPIRED)
            expired += 1
    return expired


def _is_blind(invoice: Invoice) -> bool:
    """Whether a payment could be on chain, or found already, without the invoice knowing (R15)."""
    networks = invoice.options.exclude(address="").values_list("network", flat=True).distinct()
    applied = dict(TransferCursor.objects.values_list("network", "revision"))
    now = timezone.now()
    return any(
        (caught_up_at(network=one) or now - 2 * BLIND_AFTER) < now - BLIND_AFTER
        or applied.get(one, 0) < last_revision(network=one)
        for one in networks
    )


def _apply(invoice: Invoice, facts: list[TransferFact]) -> None:
    for fact in facts:
        payment, _created = InvoicePayment.objects.get_or_create(
            identity=fact.identity,
            defaults={
                "invoice": invoice,
                "asset": fact.asset,
                "txid": fact.txid,
                "quantity": fact.value,
                "state": fact.state,
                "on_time": fact.first_seen_at <= invoice.expires_at,
            },
        )
        payment.state = fact.state
        _book(invoice, payment)
        payment.save(update_fields=["state", "booked"])
    _move(invoice, _status_of(invoice))
    kind = "invoice.payment"
    record_event(invoice=invoice, kind=kind, payload={"status": invoice.status})


def _book(invoice: Invoice, payment: InvoicePayment) -> None:
    """Bring the ledger in line with one payment: final is booked, gone for good is reversed.

    A booked payment that a reorganisation sent back to the mempool stays booked while it waits to
    be mined again (R1); it is reversed once another took its place or nobody knows it (R5).
    """
    now = timezone.now()
    option = PaymentOption.objects.filter(invoice=invoice, asset=payment.asset).first()
    if option is None:
        # Listed after the invoice was issued: no price was promised, so people must look at it.
        payload = {"identity": payment.identity}
        record_event(invoice=invoice, kind="invoice.unexpected_asset", payload=payload)
    elif payment.state == TransferState.FINAL and not payment.booked:
        owed_tiyn = invoice.amount_tiyn - paid_tiyn_of(sources=_booked_sources(invoice))
        book_receipt(
            source=payment.identity,
            beneficiary=str(invoice.shop_id),
            quote_id=option.quote_id,
            quantity=int(payment.quantity),
            # A late payment settles nothing by itself: the quote was over (R24).
            owed_tiyn=max(0, owed_tiyn) if payment.on_time else 0,
            completes=_due_after(invoice, Q(booked=True) | Q(pk=payment.pk)).is_met,
            effective_at=now,
        )
        payment.booked = True
    elif payment.state in GONE and payment.booked:
        reverse_receipt(source=payment.identity, reason="chain reorganised", effective_at=now)
        payment.booked = False


def _booked_sources(invoice: Invoice) -> list[str]:
    return list(invoice.payments.filter(booked=True).values_list("identity", flat=True))


def _status_of(invoice: Invoice) -> Status:
    """What the invoice's payments say now; time alone is left to ``expire_invoices``."""
    status = Status(invoice.status)
    if _due_after(invoice, Q(booked=True)).is_met:
        return Status.SETTLED
    if status in {Status.SETTLED, Status.REVERSED}:
        return Status.REVERSED
    if status is Status.EXPIRED:
        return status
    counted = invoice.payments.filter(state__in=COUNTED, on_time=True)
    return Status.PROCESSING if counted.exists() else Status.NEW


def _move(invoice: Invoice, status: Status) -> None:
    before = Status(invoice.status)
    if status is before:
        return
    if status not in EDGES[before]:
        raise IllegalEdgeError(f"{before} to {status} is not declared.")
    invoice.status = status
    invoice.settled_at = timezone.now() if status is Status.SETTLED else invoice.settled_at
    invoice.save(update_fields=["status", "settled_at"])
    record_event(invoice=invoice, kind=f"invoice.{status}", payload={"status": status})


def seconds_left(invoice: Invoice, now: datetime) -> int:
    """Whole seconds until the invoice expires, never below zero."""
    return max(0, int((invoice.expires_at - now).total_seconds()))
