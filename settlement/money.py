"""Tenge in integer tiyn, coins in integer base units, and the one place where they are rounded."""

from decimal import Decimal, localcontext
from fractions import Fraction
from math import ceil, floor
from typing import NewType

Tiyn = NewType("Tiyn", int)
"""A hundredth of a tenge (KZT, ISO 4217 number 398)."""

PRICE_TIYN_DIGITS = 18
"""Fractional digits that a price in tiyn keeps."""


def exact_int(value: int, *, name: str) -> int:
    """Return ``value`` if it is an int; raise TypeError for anything else (R121)."""
    if type(value) is not int:
        raise TypeError(f"{name} must be an int, not {type(value).__name__}")
    return value


def worth_rounded_down(*, quantity: int, price_tiyn: Decimal, decimals: int) -> Tiyn:
    """Tiyn that ``quantity`` base units are worth at ``price_tiyn`` for one whole coin."""
    exact_int(quantity, name="quantity")
    return Tiyn(floor(Fraction(price_tiyn) * quantity / 10**decimals))


def quantity_rounded_up(*, amount_tiyn: int, price_tiyn: Decimal, decimals: int) -> int:
    """Base units that are worth at least ``amount_tiyn``: in the shop's favour (R122)."""
    exact_int(amount_tiyn, name="amount_tiyn")
    units_of_one_coin: int = 10**decimals
    return ceil(Fraction(amount_tiyn) * units_of_one_coin / Fraction(price_tiyn))


def price_of_one_unit_rounded_up(*, price_tiyn: Decimal, decimals: int) -> Tiyn:
    """Tiyn that one base unit is worth, rounded up: the most that rounding may leave over."""
    return Tiyn(ceil(Fraction(price_tiyn) / 10**decimals))


def price_in_tiyn(tenge: Decimal) -> Decimal:
    """Tiyn for one whole coin from a price in tenge, with ``PRICE_TIYN_DIGITS`` digits."""
    with localcontext(prec=60):
        return (tenge * 100).quantize(Decimal(1).scaleb(-PRICE_TIYN_DIGITS))
