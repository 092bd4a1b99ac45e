"""A shop's statement for some days: what it was owed, what moved, and what it is owed now."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from enum import StrEnum
from typing import Final

from django.utils.functional import Promise
from django.utils.translation import gettext_lazy

from settlement.calendar import almaty_day
from settlement.formats import tenge_plain


class StatementSumError(ValueError):
    """A statement that does not add up, or holds what is not of its days: it is not to be shown."""


class StatementTooLongError(ValueError):
    """More movements than a document takes: offer its days one by one, or a table."""


class MovementKind(StrEnum):
    """Why what a shop is owed has changed."""

    SALE = "sale"
    REVERSAL = "reversal"
    REFUND = "refund"
    FEE = "fee"
    PAYOUT = "payout"
    PAYOUT_RETURNED = "payout_returned"
    CORRECTION = "correction"


TITLES: Final[dict[MovementKind, Promise]] = {
    MovementKind.SALE: gettext_lazy("Sale"),
    MovementKind.REVERSAL: gettext_lazy("Sale taken back by the network"),
    MovementKind.REFUND: gettext_lazy("Refund"),
    MovementKind.FEE: gettext_lazy("Fee"),
    MovementKind.PAYOUT: gettext_lazy("Payout"),
    MovementKind.PAYOUT_RETURNED: gettext_lazy("Payout returned by the bank"),
    MovementKind.CORRECTION: gettext_lazy("Correction"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class PaidTransfer:
    """A transfer on chain that a movement rests on: base units, and tiyn for one whole coin."""

    network: str
    txid: str
    symbol: str
    quantity: int
    decimals: int
    price_tiyn: Decimal | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Movement:
    """One change of what the shop is owed; less is negative.

    ``invoice`` is its reference, ``order`` the shop's own number for it; ``reference`` is a
    payout's number, or whatever else the movement is found by.
    """

    at: datetime
    kind: MovementKind
    amount_tiyn: int
    invoice: str = ""
    order: str = ""
    reference: str = ""
    transfers: tuple[PaidTransfer, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ShopStatement:
    """A shop's account with the operator from one day to another, both included, in Almaty's days.

    ``account`` names it: it is no bank account. ``iban`` is where payouts go.
    """

    account: str
    shop: str
    merchant: str
    bin_or_iin: str
    kbe: str
    iban: str
    operator: str
    begins_on: date
    ends_on: date
    created_at: datetime
    opening_tiyn: int
    movements: tuple[Movement, ...]
    closing_tiyn: int

    @property
    def came_tiyn(self) -> int:
        """All that the shop was owed more."""
        return sum(one.amount_tiyn for one in self.movements if one.amount_tiyn > 0)

    @property
    def went_tiyn(self) -> int:
        """All that the shop was owed less, as a positive number."""
        return -sum(one.amount_tiyn for one in self.movements if one.amount_tiyn < 0)

    @property
    def is_of_one_day(self) -> bool:
        """Whether the statement is a day's."""
        return self.begins_on == self.ends_on


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """A file for a shop."""

    name: str
    media_type: str
    content: bytes


def check_statement(statement: ShopStatement) -> None:
    """Raise StatementSumError unless opening and movements come to closing, in order, in days."""
    moved_tiyn = sum(one.amount_tiyn for one in statement.movements)
    if difference_tiyn := statement.closing_tiyn - statement.opening_tiyn - moved_tiyn:
        raise StatementSumError(f"The statement differs by {tenge_plain(difference_tiyn)}.")
    moments = [one.at for one in statement.movements]
    if moments != sorted(moments):
        raise StatementSumError("The movements are not in order.")
    days = [statement.begins_on, *(almaty_day(one) for one in moments), statement.ends_on]
    if days != sorted(days):
        raise StatementSumError("A movement is not of the statement's days.")


def with_balances(statement: ShopStatement) -> Iterator[tuple[Movement, int]]:
    """Each movement with what the shop is owed after it, in tiyn."""
    balance_tiyn = statement.opening_tiyn
    for one in statement.movements:
        balance_tiyn += one.amount_tiyn
        yield one, balance_tiyn
