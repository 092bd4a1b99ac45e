"""Coins on their way to the treasury, and what the network takes for the journey.

Both are booked once a sweep is final on chain, each once for its transaction: on a chain's final
part nothing is taken back, so there is no account for what is still on its way.
"""

from datetime import datetime
from fractions import Fraction
from math import ceil

from django.db.models import Sum

from settlement.accounts import COINS_HELD, COINS_IN_TREASURY, GAS_RESERVE, NETWORK_GAS
from settlement.ledger import (
    Entry,
    Line,
    SourceConflictError,
    lock_demand,
    post_entries,
    standing_entries,
)
from settlement.models import Posting
from settlement.money import exact_int, price_in_tiyn, worth_exact
from settlement.rates.sources import Price


def book_sweep(*, source: str, asset: str, quantity: int, effective_at: datetime) -> bool:
    """Book that ``quantity`` base units of an asset moved to the treasury, at their average cost.

    All that is held moves at all that it cost. Coins that the ledger does not hold (yet: a receipt
    that is booked later brings its cost) move at none. False if it was booked before. Call it
    inside a transaction. Raises SourceConflictError when ``source`` was booked with another
    quantity, TypeError, ValueError.
    """
    if exact_int(quantity, name="quantity") <= 0:
        raise ValueError("quantity must be positive")
    lock_demand(f"coins held {asset}")
    if _is_booked(source, quantity):
        return False
    cost_tiyn = _cost_tiyn(asset, quantity)
    lines = [
        Line(account=COINS_IN_TREASURY, amount_tiyn=cost_tiyn, asset=asset, quantity=quantity),
        Line(account=COINS_HELD, amount_tiyn=-cost_tiyn, asset=asset, quantity=-quantity),
    ]
    entry = Entry(
        kind="sweep", source=source, subject=source, lines=lines, effective_at=effective_at
    )
    post_entries([entry])
    return True


def book_sweep_gas(
    *,
    source: str,
    asset: str,
    decimals: int,
    quantity: int,
    price: Price,
    effective_at: datetime,
) -> bool:
    """Book ``quantity`` base units of a network's coin that a sweep cost, at a price; rounded up.

    The rate and its source are kept in the memo. False if it was booked before. Call it inside a
    transaction. Raises SourceConflictError when ``source`` was booked with another quantity,
    TypeError, ValueError.
    """
    if exact_int(quantity, name="quantity") <= 0:
        raise ValueError("quantity must be positive")
    lock_demand(source)
    if _is_booked(source, quantity):
        return False
    price_tiyn = price_in_tiyn(price.tenge)
    worth = worth_exact(quantity=quantity, price_tiyn=price_tiyn, decimals=decimals)
    lines = [
        Line(account=NETWORK_GAS, amount_tiyn=ceil(worth)),
        Line(account=GAS_RESERVE, amount_tiyn=-ceil(worth), asset=asset, quantity=-quantity),
    ]
    memo = f"{price.tenge} tenge a coin, {price.source}, {price.observed_at.isoformat()}"
    entry = Entry(
        kind="sweep_gas",
        source=source,
        subject=source,
        lines=lines,
        effective_at=effective_at,
        memo=memo[:200],
    )
    post_entries([entry])
    return True


def _is_booked(source: str, quantity: int) -> bool:
    """Whether ``source`` was booked; raises SourceConflictError for another quantity."""
    for entry in standing_entries(subjects=[source]):
        if quantity not in {abs(int(posting.quantity)) for posting in entry.postings.all()}:
            raise SourceConflictError(f"{source} was booked before with another quantity")
        return True
    return False


def _cost_tiyn(asset: str, quantity: int) -> int:
    """What ``quantity`` of what is held cost on average, rounded down; all of it costs all."""
    held = Posting.objects.filter(account__code=COINS_HELD.code, asset=asset).aggregate(
        units=Sum("quantity"), tiyn=Sum("amount_tiyn")
    )
    units, tiyn = int(held["units"] or 0), int(held["tiyn"] or 0)
    if tiyn <= 0 or units <= 0:
        return 0
    return tiyn if quantity >= units else int(Fraction(tiyn * quantity, units))
