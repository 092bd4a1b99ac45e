"""Payment orders: what they say, and what is refused before a bank would refuse it."""

import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import date, datetime
from typing import Final

from django.core.exceptions import ValidationError

from settlement.banks import bank_of
from settlement.calendar import almaty_day
from settlement.identifiers import validate_bin_or_iin, validate_iban
from settlement.money import exact_int

NUMBER_MAX: Final = 999_999_999
AMOUNT_TIYN_MAX: Final = 10**15
"""Ten million million tenge: above any payout of a city, and within every format's digits."""
NAME_CHARS_MAX: Final = 200
PURPOSE_CHARS_MAX: Final = 210
ORDERS_MAX: Final = 10_000
REFUSED_CATEGORIES: Final = {"Cc", "Cf", "Cn", "Co", "Cs", "Zl", "Zp"}
"""Line breaks (which would begin another field), what nobody sees, what no character is."""


class OrdersRefusedError(ValueError):
    """Orders that a bank would refuse; ``refusals`` has a sentence for each fault."""

    def __init__(self, refusals: tuple[str, ...]) -> None:
        """Keep every fault, so that all are mended at once."""
        super().__init__("; ".join(refusals))
        self.refusals = refusals


@dataclass(frozen=True, slots=True, kw_only=True)
class Party:
    """Who pays or is paid: a name, a BIN or IIN, an account, and a KBe (residency and sector)."""

    name: str
    bin_or_iin: str
    iban: str
    kbe: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PaymentOrder:
    """One payment in tenge.

    ``number`` is the document's number, and the reference by which the bank's statement tells of it
    in every format; ``knp`` is the code of the payment's purpose.
    """

    number: int
    payee: Party
    amount_tiyn: int
    purpose: str
    knp: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PaymentBatch:
    """Payments from one account; ``reference`` is Latin letters, digits and hyphens, 35 at most."""

    reference: str
    payer: Party
    created_at: datetime
    value_on: date
    orders: tuple[PaymentOrder, ...]

    @property
    def total_tiyn(self) -> int:
        """What leaves the payer's account."""
        return sum(order.amount_tiyn for order in self.orders)

    @property
    def created_on(self) -> date:
        """The day in Almaty on which the orders were written."""
        return almaty_day(self.created_at)


@dataclass(frozen=True, slots=True, kw_only=True)
class BankFile:
    """A file for a bank, and what whoever sends it should know."""

    name: str
    media_type: str
    content: bytes
    warnings: tuple[str, ...] = ()


def check_orders(batch: PaymentBatch) -> tuple[str, ...]:
    """Return warnings about a batch; raise OrdersRefusedError for what a bank would refuse.

    A bank's code that is not listed is warned of only: it may be a new bank.
    """
    if refusals := tuple(_refusals(batch)):
        raise OrdersRefusedError(refusals)
    ibans = [batch.payer.iban, *(order.payee.iban for order in batch.orders)]
    unknown = sorted({iban[4:7] for iban in ibans if bank_of(iban) is None})
    return tuple(
        f"The bank with the code {code} is not listed: its name and BIC are left empty."
        for code in unknown
    )


def _refusals(batch: PaymentBatch) -> Iterator[str]:
    if not re.fullmatch(r"[A-Za-z0-9-]{1,35}", batch.reference):
        yield "The batch's reference is not 1 to 35 Latin letters, digits and hyphens"
    if not 1 <= len(batch.orders) <= ORDERS_MAX:
        yield f"A batch has 1 to {ORDERS_MAX} orders"
    if batch.value_on < batch.created_on:
        yield f"The value date {batch.value_on} is before the day of the orders"
    yield from (f"Payer: {fault}" for fault in _party_faults(batch.payer))
    counted = Counter(order.number for order in batch.orders)
    for order in batch.orders:
        faults = [*_order_faults(order), *_party_faults(order.payee)]
        if counted[order.number] > 1:
            faults.append("the number stands twice")
        if order.payee.iban == batch.payer.iban:
            faults.append("the payer pays itself")
        yield from (f"Order {order.number}: {fault}" for fault in faults)


def _order_faults(order: PaymentOrder) -> Iterator[str]:
    if not 1 <= exact_int(order.number, name="number") <= NUMBER_MAX:
        yield f"the number is not 1 to {NUMBER_MAX}"
    if not 1 <= exact_int(order.amount_tiyn, name="amount_tiyn") <= AMOUNT_TIYN_MAX:
        yield f"the amount is not 1 to {AMOUNT_TIYN_MAX} tiyn"
    if not re.fullmatch(r"[0-9]{3}", order.knp):
        yield "the KNP is not three digits"
    yield from _text_faults(order.purpose, name="purpose", chars_max=PURPOSE_CHARS_MAX)


def _party_faults(party: Party) -> Iterator[str]:
    yield from _text_faults(party.name, name="name", chars_max=NAME_CHARS_MAX)
    yield from _identifier_faults(validate_bin_or_iin, party.bin_or_iin)
    yield from _identifier_faults(validate_iban, party.iban)
    if not re.fullmatch(r"[12][1-9]", party.kbe):
        yield "the KBe is not 1 or 2 and a sector from 1 to 9"


def _text_faults(text: str, *, name: str, chars_max: int) -> Iterator[str]:
    if not text.strip():
        yield f"the {name} is empty"
    if len(text) > chars_max:
        yield f"the {name} has {len(text)} characters, and {chars_max} are allowed"
    if any(unicodedata.category(one) in REFUSED_CATEGORIES for one in text):
        yield f"the {name} has a line break or another character that is not to be seen"


def _identifier_faults(validate: Callable[[str], None], text: str) -> Iterator[str]:
    try:
        validate(text)
    except ValidationError as error:
        yield f"{text!r}: {error.message}"
