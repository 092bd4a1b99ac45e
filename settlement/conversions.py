"""Coins sold at an exchange, and the tenge brought home: each fill once, its gain or loss apart.

Realised gain or loss is what a fill brought less what its coins cost, lot by lot (R127). What the
exchange takes is a cost of its own.
"""

from dataclasses import dataclass
from datetime import datetime

from settlement.accounts import (
    BANK_SETTLEMENT,
    COINS_IN_TREASURY,
    COINS_OUTSIDE,
    EXCHANGE_FEES,
    EXCHANGE_RESULT,
    TENGE_AT_EXCHANGE,
)
from settlement.coins import leaving, record_left
from settlement.ledger import (
    Entry,
    Line,
    SourceConflictError,
    amount_on,
    lock_assets,
    moved,
    post_entries,
    steps_of,
)
from settlement.lots import add_lot
from settlement.models import JournalEntry
from settlement.money import exact_int


@dataclass(frozen=True, slots=True, kw_only=True)
class Fill:
    """One fill: ``quantity`` base units of an asset were sold for ``proceeds_tiyn``.

    ``fee_tiyn`` of that went to the exchange. Where another coin was bought instead of tenge,
    ``bought_quantity`` base units of ``bought_asset`` came, and ``proceeds_tiyn`` is their worth at
    the rate of the moment, before the fee.
    """

    source: str
    asset: str
    quantity: int
    proceeds_tiyn: int
    fee_tiyn: int = 0
    bought_asset: str = ""
    bought_quantity: int = 0


def book_fill(fill: Fill, *, effective_at: datetime) -> bool:
    """Book a fill; its coins leave the treasury, the oldest lots first.

    False if it was booked before. Call it inside a transaction; locks the assets. Raises
    InsufficientFundsError when the treasury holds less, SourceConflictError when the source was
    booked with other figures, ValueError, TypeError.
    """
    _check(fill)
    lock_assets([one for one in (fill.asset, fill.bought_asset) if one])
    booked = steps_of(fill.source).get("fill")
    if booked:
        _check_same(booked, fill)
        return False
    sold = leaving(account=COINS_IN_TREASURY, asset=fill.asset, quantity=fill.quantity)
    net_tiyn = fill.proceeds_tiyn - fill.fee_tiyn
    brought = Line(
        account=COINS_IN_TREASURY if fill.bought_asset else TENGE_AT_EXCHANGE,
        amount_tiyn=net_tiyn,
        asset=fill.bought_asset,
        quantity=fill.bought_quantity,
    )
    lines = [
        sold.line,
        _outside(fill.asset, fill.quantity),
        brought,
        *([_outside(fill.bought_asset, -fill.bought_quantity)] if fill.bought_asset else []),
        Line(account=EXCHANGE_FEES, amount_tiyn=fill.fee_tiyn),
        Line(account=EXCHANGE_RESULT, amount_tiyn=sold.cost_tiyn - fill.proceeds_tiyn),
    ]
    [entry_id] = post_entries(
        [
            Entry(
                kind="fill",
                source=fill.source,
                subject=fill.source,
                lines=[line for line in lines if line.amount_tiyn or line.quantity],
                effective_at=effective_at,
            )
        ]
    )
    record_left(sold, entry_id=entry_id)
    if fill.bought_asset:
        add_lot(
            entry_id=entry_id,
            asset=fill.bought_asset,
            units=fill.bought_quantity,
            cost_tiyn=net_tiyn,
        )
    return True


def book_withdrawal(*, source: str, amount_tiyn: int, effective_at: datetime) -> bool:
    """Book tenge that came from the exchange to the bank settlement account.

    False if it was booked before. Raises SourceConflictError for another amount, ValueError,
    TypeError.
    """
    if exact_int(amount_tiyn, name="amount_tiyn") <= 0:
        raise ValueError("amount_tiyn must be positive")
    lock_assets([TENGE_AT_EXCHANGE.code])
    booked = steps_of(source).get("withdrawal")
    if booked:
        if amount_on(booked, BANK_SETTLEMENT) != amount_tiyn:
            raise SourceConflictError(f"{source} was booked before with another amount")
        return False
    lines = moved(debit=BANK_SETTLEMENT, credit=TENGE_AT_EXCHANGE, amount_tiyn=amount_tiyn)
    entry = Entry(
        kind="withdrawal", source=source, subject=source, lines=lines, effective_at=effective_at
    )
    post_entries([entry])
    return True


def _outside(asset: str, quantity: int) -> Line:
    return Line(account=COINS_OUTSIDE, amount_tiyn=0, asset=asset, quantity=quantity)


def _check(fill: Fill) -> None:
    exact_int(fill.proceeds_tiyn, name="proceeds_tiyn")
    exact_int(fill.bought_quantity, name="bought_quantity")
    if exact_int(fill.quantity, name="quantity") <= 0:
        raise ValueError("quantity must be positive")
    if not 0 <= exact_int(fill.fee_tiyn, name="fee_tiyn") <= fill.proceeds_tiyn:
        raise ValueError("the fee must not be negative, nor more than the proceeds")
    if bool(fill.bought_asset) != (fill.bought_quantity > 0) or fill.bought_asset == fill.asset:
        raise ValueError("another coin is bought, with its quantity, or none")


def _check_same(entry: JournalEntry, fill: Fill) -> None:
    """Raise SourceConflictError unless the entry says what the fill says."""
    units = {
        one.asset: int(one.quantity)
        for one in entry.postings.all()
        if one.account.code == COINS_OUTSIDE.code
    }
    fill_units = {fill.asset: fill.quantity, fill.bought_asset: -fill.bought_quantity}
    net_tiyn = sum(
        one.amount_tiyn
        for one in entry.postings.all()
        if one.account.code in {TENGE_AT_EXCHANGE.code, COINS_IN_TREASURY.code}
        and one.amount_tiyn > 0
    )
    if (units, net_tiyn, amount_on(entry, EXCHANGE_FEES)) != (
        {asset: quantity for asset, quantity in fill_units.items() if asset},
        fill.proceeds_tiyn - fill.fee_tiyn,
        fill.fee_tiyn,
    ):
        raise SourceConflictError(f"{fill.source} was booked before with other figures")
