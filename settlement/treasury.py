"""Coins on their way to the treasury, and what the network takes for the journey.

A sweep is booked once it is final on chain, once for its transaction; before that it may be booked
as sent.
"""

from datetime import datetime
from math import ceil

from settlement.accounts import (
    COINS_HELD,
    COINS_IN_TRANSIT,
    COINS_IN_TREASURY,
    GAS_RESERVE,
    NETWORK_GAS,
    AccountCode,
)
from settlement.coins import Leaving, leaving
from settlement.ledger import (
    Entry,
    Line,
    SourceConflictError,
    lock_assets,
    post_entries,
    steps_of,
)
from settlement.lots import add_lot
from settlement.models import JournalEntry
from settlement.money import exact_int, price_in_tiyn, worth_exact
from settlement.rates.sources import Price


def send_sweep(*, source: str, asset: str, quantity: int, effective_at: datetime) -> bool:
    """Book that coins held are on their way to the treasury, at their average cost.

    Optional: a sweep that nobody watched is booked when it arrives. False if it was booked before.
    Call it inside a transaction. Raises SourceConflictError, TypeError, ValueError.
    """
    _check_positive(quantity)
    lock_assets([asset])
    steps = steps_of(source)
    if steps:
        _check_same(next(iter(steps.values())), source, quantity)
        return False
    gone = leaving(account=COINS_HELD, asset=asset, quantity=quantity)
    _post_move("sweep_sent", source, gone, COINS_IN_TRANSIT, effective_at)
    return True


def cancel_sweep(*, source: str, asset: str, effective_at: datetime) -> bool:
    """Book that coins on their way did not leave after all; False if nothing is on its way."""
    lock_assets([asset])
    steps = steps_of(source)
    if steps.keys() != {"sweep_sent"}:
        return False
    _post_move("sweep_failed", source, _in_transit(steps["sweep_sent"]), COINS_HELD, effective_at)
    return True


def book_sweep(*, source: str, asset: str, quantity: int, effective_at: datetime) -> bool:
    """Book that ``quantity`` base units of an asset came to the treasury, as one lot.

    They come at what they cost on average; all that is held at all that it cost. Coins that the
    ledger does not hold (yet: a receipt that is booked later brings its cost) come at none. False
    if it was booked before. Call it inside a transaction. Raises SourceConflictError when
    ``source`` was booked with another quantity, TypeError, ValueError.
    """
    _check_positive(quantity)
    lock_assets([asset])
    steps = steps_of(source)
    if steps:
        _check_same(next(iter(steps.values())), source, quantity)
    if "sweep" in steps:
        return False
    if steps.keys() == {"sweep_sent"}:
        gone = _in_transit(steps["sweep_sent"])
    else:
        gone = leaving(account=COINS_HELD, asset=asset, quantity=quantity)
    entry_id = _post_move("sweep", source, gone, COINS_IN_TREASURY, effective_at)
    add_lot(entry_id=entry_id, asset=asset, units=quantity, cost_tiyn=gone.cost_tiyn)
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
    _check_positive(quantity)
    lock_assets([asset])
    if booked := steps_of(source).get("sweep_gas"):
        _check_same(booked, source, quantity)
        return False
    price_tiyn = price_in_tiyn(price.tenge)
    worth = worth_exact(quantity=quantity, price_tiyn=price_tiyn, decimals=decimals)
    lines = [
        Line(account=NETWORK_GAS, amount_tiyn=ceil(worth), asset=asset, quantity=quantity),
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


def _post_move(
    kind: str, source: str, gone: Leaving, to: AccountCode, effective_at: datetime
) -> int:
    came = Line(account=to, amount_tiyn=gone.cost_tiyn, asset=gone.asset, quantity=gone.quantity)
    entry = Entry(
        kind=kind,
        source=source if kind == "sweep" else f"{source} {kind}",
        subject=source,
        lines=[came, gone.line],
        effective_at=effective_at,
    )
    [entry_id] = post_entries([entry])
    return entry_id


def _in_transit(sent: JournalEntry) -> Leaving:
    """The coins of a sweep that was sent."""
    on_the_way = next(one for one in sent.postings.all() if one.quantity > 0)
    return Leaving(
        account=COINS_IN_TRANSIT,
        asset=on_the_way.asset,
        quantity=int(on_the_way.quantity),
        cost_tiyn=on_the_way.amount_tiyn,
    )


def _check_positive(quantity: int) -> None:
    if exact_int(quantity, name="quantity") <= 0:
        raise ValueError("quantity must be positive")


def _check_same(entry: JournalEntry, source: str, quantity: int) -> None:
    """Raise SourceConflictError where an entry was booked with another quantity."""
    if quantity not in {abs(int(posting.quantity)) for posting in entry.postings.all()}:
        raise SourceConflictError(f"{source} was booked before with another quantity")
