"""Shops are paid: whom and how merchants know, what is owed settlement knows; here both meet."""

from collections.abc import Iterator
from datetime import date
from itertools import islice
from typing import Final
from uuid import UUID

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured, ValidationError

from merchants.models import Shop
from merchants.outbox import record_shop_event
from settlement.bank_files.orders import Party
from settlement.calendar import Every, PayoutSchedule, city_calendar
from settlement.clock import today
from settlement.identifiers import validate_bin_or_iin, validate_iban
from settlement.payout_outcomes import Imported
from settlement.payout_outcomes import import_statement as take_in
from settlement.payout_states import PayoutError, PayoutFact, PayoutState, batches_on
from settlement.payouts import SHOPS_MAX, PayoutTerms, Prepared, prepare_batch

BY_BEAT: Final = "the gateway"
"""Who prepares what the schedule prepares; any official may be the second."""
EVENTS: Final = {
    PayoutState.PAID: "payout.paid",
    PayoutState.RETURNED: "payout.returned",
    PayoutState.UNPAID: "payout.unpaid",
}


def payer() -> Party:
    """Who pays the shops; raises ImproperlyConfigured that names a setting that is wrong."""
    found = Party(
        name=settings.PAYER_NAME,
        bin_or_iin=settings.PAYER_BIN,
        iban=settings.PAYER_IBAN,
        kbe=settings.PAYER_KBE,
    )
    if not found.name.strip():
        raise ImproperlyConfigured("PAYER_NAME is empty: name the operator that pays the shops.")
    for name, validate, value in (
        ("PAYER_BIN", validate_bin_or_iin, found.bin_or_iin),
        ("PAYER_IBAN", validate_iban, found.iban),
    ):
        try:
            validate(value)
        except ValidationError as error:
            raise ImproperlyConfigured(f"{name}: {error.message}") from error
    return found


def payout_terms() -> Iterator[PayoutTerms]:
    """How each approved shop is paid, as its merchant stands now."""
    shops = Shop.objects.filter(status=Shop.Status.APPROVED).select_related("merchant")
    for shop in shops.order_by("pk").iterator():
        merchant = shop.merchant
        yield PayoutTerms(
            beneficiary=str(shop.pk),
            payee=Party(
                name=merchant.legal_name,
                bin_or_iin=merchant.bin_or_iin,
                iban=merchant.iban,
                kbe=merchant.kbe,
            ),
            knp=merchant.knp,
            schedule=PayoutSchedule(every=Every(merchant.payout_every), on=merchant.payout_on),
            minimum_tiyn=merchant.payout_minimum_tiyn,
        )


def known_shop(text: str) -> str:
    """The id of a shop, whatever its status; raises PayoutError where there is none."""
    try:
        return str(Shop.objects.get(pk=UUID(text)).pk)
    except (ValueError, Shop.DoesNotExist):
        raise PayoutError(f"There is no shop {text}.") from None


def prepare_payouts(*, value_on: date, prepared_by: str) -> list[Prepared]:
    """Prepare the batches of a value day for all approved shops, a bounded number in each.

    Raises PayoutError, CalendarError, ImproperlyConfigured.
    """
    operator = payer()
    return [
        prepare_batch(value_on=value_on, payer=operator, terms=terms, prepared_by=prepared_by)
        for terms in _in_parts(payout_terms())
    ]


def prepare_payouts_of_today() -> list[Prepared]:
    """Prepare today's batches, if banks settle today and nobody has prepared any yet."""
    day = today()
    if not city_calendar().is_business_day(day) or batches_on(day):
        return []
    return prepare_payouts(value_on=day, prepared_by=BY_BEAT)


def import_statement(*, content: bytes, name: str, imported_by: str) -> Imported:
    """Take in a statement of the account that pays, and tell each shop what became of its payout.

    Raises StatementError, PayoutError, ImproperlyConfigured.
    """
    return take_in(
        content=content,
        name=name,
        imported_by=imported_by,
        ibans=[payer().iban],
        told=tell_shop,
    )


def tell_shop(payout: PayoutFact) -> None:
    """Record for a shop, in the caller's transaction, what became of its payout."""
    record_shop_event(
        shop=payout.beneficiary,
        kind=EVENTS[payout.state],
        payload={
            "number": payout.number,
            "amount_tiyn": payout.amount_tiyn,
            "iban": payout.payee_iban,
            "value_on": str(payout.value_on),
        },
    )


def _in_parts(terms: Iterator[PayoutTerms]) -> Iterator[tuple[PayoutTerms, ...]]:
    while part := tuple(islice(terms, SHOPS_MAX)):
        yield part
