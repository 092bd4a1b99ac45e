"""Invoices: issued in tenge, given an address for each coin that is chosen, and what is due."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from fractions import Fraction
from typing import Final
from uuid import UUID

from django.conf import settings
from django.db import transaction
from django.db.models import Q, Sum
from django.db.models.functions import Now

from chains.addresses import allocate_address
from chains.listing import halted_assets, readable_assets
from chains.networks import registry
from chains.payment_uris import payment_uri
from chains.transfers import TransferState
from merchants.models import Invoice, PaymentOption, Shop
from merchants.outbox import record_event
from settlement.clock import database_now
from settlement.money import exact_int
from settlement.rates.quoting import lock_quotes, quantity_for, quotes_of, worth_exact
from settlement.rates.sources import RateSource, configured_source

Status = Invoice.Status

AMOUNT_TIYN_MAX: Final = 10**14
"""A million million tenge: above any shop's bill, and far below what a bigint holds."""
EXPIRES_IN_MAX: Final = timedelta(days=1)
WATCHED_AFTER: Final = timedelta(days=7)
"""After its end an invoice's addresses are looked at more rarely; never not at all (R24)."""
"""The gateway carries the rate's risk for so long at most."""

MINED: Final = (TransferState.INCLUDED, TransferState.FINAL)
COUNTED: Final = (TransferState.SEEN, *MINED)
IN_TIME: Final = Q(on_time=True) & (Q(booked=True) | Q(state__in=COUNTED))
"""Payments that were first seen before the invoice expired, and are not gone."""
COUNTS: Final = IN_TIME & (Q(booked=True) | Q(state__in=MINED) | Q(invoice__confirm_by__gt=Now()))
"""Those of them that pay the invoice: in a block, or with time left to come into one."""


class InvoiceError(Exception):
    """The invoice cannot be issued or paid so; the message is for developers."""


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

    ``amount_tiyn`` is 1 to AMOUNT_TIYN_MAX, ``expires_in`` EXPIRES_IN_MAX at most. Raises
    InvoiceError for any other, or for a shop that is not approved; RateUnavailableError,
    RegistryError.
    """
    if not 0 < exact_int(amount_tiyn, name="amount_tiyn") <= AMOUNT_TIYN_MAX:
        raise InvoiceError(f"The amount must be 1 to {AMOUNT_TIYN_MAX} tiyn.")
    if not timedelta(0) < expires_in <= EXPIRES_IN_MAX:
        raise InvoiceError(f"The invoice must expire within {EXPIRES_IN_MAX}.")
    shop = Shop.objects.select_for_update().get(pk=shop_id)
    if shop.status != Shop.Status.APPROVED:
        raise InvoiceError("The shop is not approved.")
    expires_at = database_now() + expires_in
    invoice = Invoice.objects.create(
        shop=shop,
        amount_tiyn=amount_tiyn,
        description=description,
        order_id=order_id,
        expires_at=expires_at,
        confirm_by=expires_at + timedelta(seconds=settings.CONFIRM_WITHIN_S),
    )
    listed = registry().assets
    quotes = lock_quotes(
        amount_tiyn=amount_tiyn,
        assets=readable_assets(list(listed.values())),
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
    listed = registry()
    if option is None or asset not in listed.assets:
        raise InvoiceError("The invoice cannot be paid in this asset.")
    if not takes_payments(locked):
        raise InvoiceError("The invoice takes no more payments.")
    if asset in halted_assets():
        raise InvoiceError("Payments in this asset are halted.")
    if not option.address:
        network = listed.networks[option.network]
        option.address = allocate_address(
            network=network,
            reference=str(locked.pk),
            watch_until=locked.expires_at + WATCHED_AFTER,
        ).text
        option.save(update_fields=["address"])
    return option


def takes_payments(invoice: Invoice) -> bool:
    """Whether anyone may still be asked to pay: the invoice is open and its time not over."""
    is_open = invoice.status in {Status.NEW, Status.PROCESSING}
    return is_open and database_now() < invoice.expires_at


@dataclass(frozen=True, slots=True, kw_only=True)
class Due:
    """What an invoice still asks for; ``quantities`` are base units by CAIP-19, rounded up."""

    left_tiyn: Fraction
    quantities: Mapping[str, int]

    @property
    def is_met(self) -> bool:
        """Whether nothing is left to pay."""
        return self.left_tiyn <= 0


def due_of(invoice: Invoice, *, counts: Q = COUNTS) -> Due:
    """Reckon what the payments seen so far leave due, each at its own quote (R28); exact.

    Payments that came too late, or in a coin that had no quote, do not count.
    """
    options = {option.asset: option for option in invoice.options.all()}
    quotes = quotes_of([option.quote_id for option in options.values()])
    sums = invoice.payments.filter(counts, asset__in=options).order_by().values_list("asset")
    paid = sum(
        (
            worth_exact(quotes[options[asset].quote_id], quantity=int(quantity))
            for asset, quantity in sums.annotate(quantity=Sum("quantity"))
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


def seconds_left(invoice: Invoice, now: datetime) -> int:
    """Whole seconds until the invoice expires, never below zero."""
    return max(0, int((invoice.expires_at - now).total_seconds()))
