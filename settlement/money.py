"""Tenge in integer tiyn, coins in integer base units, and the one place where they are rounded."""

from decimal import Decimal, localcontext
from fractions import Fraction
from math import ceil, floor
from typing import NewType, cast

Tiyn = NewType("Tiyn", int)
"""A hundredth of a tenge (KZT, ISO 4217 number 398)."""

PRICE_TIYN_DIGITS = 18
"""Fractional digits that a price in tiyn keeps."""


def exact_int(value: int, *, name: str) -> int:
    """Return ``value`` if it is an int; raise TypeError for anything else (R121)."""
    if type(value) is not int:
        raise TypeError(f"{name} must be an int, not {type(value).__name__}")
    return value


def worth_exact(*, quantity: int, price_tiyn: Decimal, decimals: int) -> Fraction:
    """Tiyn, and parts of a tiyn, that base units are worth at a price for one whole coin."""
    units_of_one_coin: int = 10**decimals
    return Fraction(price_tiyn) * exact_int(quantity, name="quantity") / units_of_one_coin


def worth_rounded_down(*, quantity: int, price_tiyn: Decimal, decimals: int) -> Tiyn:
    """Tiyn that ``quantity`` base units are worth at ``price_tiyn`` for one whole coin."""
    return Tiyn(floor(worth_exact(quantity=quantity, price_tiyn=price_tiyn, decimals=decimals)))


def quantity_rounded_up(*, amount_tiyn: int | Fraction, price_tiyn: Decimal, decimals: int) -> int:
    """Base units that are worth at least ``amount_tiyn``: in the shop's favour (R122)."""
    if type(amount_tiyn) is not Fraction:
        exact_int(cast("int", amount_tiyn), name="amount_tiyn")
    units_of_one_coin: int = 10**decimals
    return ceil(Fraction(amount_tiyn) * units_of_one_coin / Fraction(price_tiyn))


def price_of_one_unit_rounded_up(*, price_tiyn: Decimal, decimals: int) -> Tiyn:
    """Tiyn that one base unit is worth, rounded up: the most that rounding may leave over."""
    return Tiyn(ceil(Fraction(price_tiyn) / 10**decimals))


def price_in_tiyn(tenge: Decimal) -> Decimal:
    """Tiyn for one whole coin from a price in tenge, with ``PRICE_TIYN_DIGITS`` digits."""
    with localcontext(prec=60):
        return (tenge * 100).quantize(Decimal(1).scaleb(-PRICE_TIYN_DIGITS))
