"""Tenge in integer tiyn, coins in integer base units, and the one place where they are rounded."""

from collections.abc import Sequence
from decimal import Decimal, localcontext
from fractions import Fraction
from math import ceil
from typing import NewType, cast

from chains.assets import PAYABLE_DECIMALS_MAX

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


def payable_step(*, decimals: int) -> int:
    """Base units of the finest amount that a payer is asked for (``Asset.payable_decimals``)."""
    step: int = 10 ** max(0, decimals - PAYABLE_DECIMALS_MAX)
    return step


def quantity_rounded_up(*, amount_tiyn: int | Fraction, price_tiyn: Decimal, decimals: int) -> int:
    """Base units, in whole payable steps, worth at least ``amount_tiyn``: the shop gains (R122)."""
    if type(amount_tiyn) is not Fraction:
        exact_int(cast("int", amount_tiyn), name="amount_tiyn")
    steps = ceil(amount_tiyn / worth_of_one_step(price_tiyn=price_tiyn, decimals=decimals))
    return steps * payable_step(decimals=decimals)


def worth_of_one_step(*, price_tiyn: Decimal, decimals: int) -> Fraction:
    """Tiyn, unrounded, that one payable step is worth: ``quantity_rounded_up`` adds less."""
    step = payable_step(decimals=decimals)
    return worth_exact(quantity=step, price_tiyn=price_tiyn, decimals=decimals)


def price_in_tiyn(tenge: Decimal, *, spread_bp: int = 0) -> Decimal:
    """Tiyn for one whole coin from a price in tenge, with ``PRICE_TIYN_DIGITS`` digits.

    ``spread_bp`` hundredths of a percent of the price are the operator's: a coin is worth less.
    """
    with localcontext(prec=60):
        kept = tenge * 100 * (10_000 - exact_int(spread_bp, name="spread_bp")) / 10_000
        return kept.quantize(Decimal(1).scaleb(-PRICE_TIYN_DIGITS))


def split(*, amount_tiyn: int, weights: Sequence[int]) -> list[int]:
    """Split an amount by weights into parts that sum to it (R123): largest remainder.

    Each part is rounded down, and what is left goes, a tiyn each, to the parts that lost most; the
    earlier of two that lost the same. Raises ValueError, TypeError.
    """
    if exact_int(amount_tiyn, name="amount_tiyn") < 0:
        raise ValueError("amount_tiyn must not be negative")
    total = sum(exact_int(weight, name="weight") for weight in weights)
    if total <= 0 or min(weights) < 0:
        raise ValueError("weights must not be negative, nor all be 0")
    parts = [amount_tiyn * weight // total for weight in weights]
    most_lost = sorted(
        range(len(weights)), key=lambda place: -(amount_tiyn * weights[place] % total)
    )
    for place in most_lost[: amount_tiyn - sum(parts)]:
        parts[place] += 1
    return parts
