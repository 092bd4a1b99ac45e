"""A refund's entries: approved, then left on chain, or cancelled.

An approved refund is owed: it leaves the shop's balance, or what was kept for the payer, at once,
so that nothing else can spend it (R124).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from django.db.models import Sum

from settlement.accounts import (
    COINS_HELD,
    COINS_IN_TREASURY,
    COINS_OUTSIDE,
    EXCHANGE_RESULT,
    MERCHANT_PAYABLE,
    NETWORK_GAS,
    OVERPAYMENTS,
    REFUNDS_PAYABLE,
    UNIDENTIFIED,
    UNSETTLED_RECEIPTS,
    AccountCode,
)
from settlement.coins import leaving, record_left
from settlement.ledger import (
    Entry,
    InsufficientFundsError,
    Line,
    SourceConflictError,
    balance_of,
    lock_assets,
    lock_beneficiaries,
    mirrored,
    post_entries,
    steps_of,
)
from settlement.models import JournalEntry, Posting
from settlement.money import exact_int
from settlement.receivables import with_receivable

REFUNDABLE: Final = (MERCHANT_PAYABLE, OVERPAYMENTS, UNSETTLED_RECEIPTS, UNIDENTIFIED)
"""Whence a refund may be taken."""
PAID_FROM: Final = (COINS_HELD, COINS_IN_TREASURY)
"""Where a refund's coins may come from."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Refund:
    """A refund of a demand, taken from one account of its beneficiary.

    An amount in tiyn; from ``unidentified``, where no tiyn were promised, base units of the asset
    that came.
    """

    source: str
    demand: str
    beneficiary: str
    taken_from: AccountCode
    amount_tiyn: int = 0
    asset: str = ""
    quantity: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Coins:
    """Base units that left for a payer, from ``coins_held`` or ``coins_in_treasury``.

    ``fee_quantity`` of the same asset went to the network beside them; 0 where the gas payer paid.
    """

    paid_from: AccountCode
    asset: str
    quantity: int
    fee_quantity: int = 0


def approve_refund(refund: Refund, *, effective_at: datetime) -> bool:
    """Book that a refund is owed to the payer; False if it was booked before.

    Call it inside a transaction; locks the beneficiary. Raises InsufficientFundsError for more than
    was paid for the demand and not refunded yet, or than the shop is still owed (R124, R129),
    SourceConflictError when the source was booked with other figures, ValueError, TypeError.
    """
    _check(refund)
    lock_beneficiaries([refund.beneficiary])
    steps = steps_of(refund.source)
    lines = [
        _line(refund.taken_from, refund, sign=1),
        _line(REFUNDS_PAYABLE, refund, sign=-1),
    ]
    if steps:
        _check_same(steps["refund"], refund, lines)
        return False
    _check_funds(refund)
    entry = Entry(
        kind="refund",
        source=refund.source,
        subject=refund.source,
        demand=refund.demand,
        lines=lines,
        effective_at=effective_at,
    )
    post_entries([entry])
    return True


def cancel_refund(*, source: str, beneficiary: str, reason: str, effective_at: datetime) -> bool:
    """Book that an approved refund will not leave: it goes back whence it was taken.

    False if it was cancelled before. Call it inside a transaction. Raises SourceConflictError for
    one that was not approved for the beneficiary, or has left.
    """
    lock_beneficiaries([beneficiary])
    steps = steps_of(source)
    approved = _approved(steps, source, beneficiary)
    if "refund_cancelled" in steps:
        return False
    if "refund_sent" in steps:
        raise SourceConflictError(f"{source} has left")
    entry = Entry(
        kind="refund_cancelled",
        source=f"{source} cancelled",
        subject=source,
        demand=approved.demand,
        lines=mirrored(approved),
        effective_at=effective_at,
        memo=reason,
    )
    post_entries(with_receivable(entry, beneficiary=beneficiary))
    return True


def book_refund_sent(
    *,
    source: str,
    beneficiary: str,
    coins: Coins,
    effective_at: datetime,
) -> bool:
    """Book that a refund's coins left on chain; what they cost more or less than promised is ours.

    False if it was booked before. Call it inside a transaction; locks the beneficiary, then the
    asset. Raises SourceConflictError for a refund that was not approved for the beneficiary, or was
    cancelled, or left with other coins, InsufficientFundsError, ValueError, TypeError.
    """
    _check_coins(coins)
    lock_beneficiaries([beneficiary])
    lock_assets([coins.asset])
    steps = steps_of(source)
    approved = _approved(steps, source, beneficiary)
    if "refund_sent" in steps:
        _check_sent(steps["refund_sent"], coins)
        return False
    if "refund_cancelled" in steps:
        raise SourceConflictError(f"{source} was cancelled")
    owed = next(one for one in mirrored(approved) if one.account == REFUNDS_PAYABLE)
    if owed.asset and (owed.asset, owed.quantity) != (coins.asset, coins.quantity):
        raise SourceConflictError(f"{source} was approved for other coins")
    gone = leaving(
        account=coins.paid_from, asset=coins.asset, quantity=coins.quantity + coins.fee_quantity
    )
    fee_tiyn = gone.cost_tiyn * coins.fee_quantity // gone.quantity
    lines = [
        owed,
        gone.line,
        Line(
            account=COINS_OUTSIDE,
            amount_tiyn=0,
            asset=coins.asset,
            quantity=coins.quantity - owed.quantity,
        ),
        Line(
            account=NETWORK_GAS,
            amount_tiyn=fee_tiyn,
            asset=coins.asset,
            quantity=coins.fee_quantity,
        ),
        Line(
            account=EXCHANGE_RESULT,
            amount_tiyn=gone.cost_tiyn - fee_tiyn - owed.amount_tiyn,
        ),
    ]
    [entry_id] = post_entries(
        [
            Entry(
                kind="refund_sent",
                source=f"{source} sent",
                subject=source,
                demand=approved.demand,
                lines=[one for one in lines if one.amount_tiyn or one.quantity],
                effective_at=effective_at,
            )
        ]
    )
    record_left(gone, entry_id=entry_id)
    return True


def refundable(*, demand: str, beneficiary: str, account: AccountCode) -> tuple[int, int]:
    """Tiyn, and base units without a price, that came for a demand and were not refunded yet.

    Of ``account`` alone; a fee does not lessen it, for the payer paid it too.
    """
    sums = (
        Posting.objects.filter(
            entry__demand=demand,
            account__code=account.code,
            account__beneficiary=beneficiary,
        )
        .exclude(entry__kind="fee")
        .aggregate(tiyn=Sum("amount_tiyn"), units=Sum("quantity"))
    )
    return -int(sums["tiyn"] or 0), -int(sums["units"] or 0)


def _line(account: AccountCode, refund: Refund, *, sign: int) -> Line:
    return Line(
        account=account,
        beneficiary=refund.beneficiary,
        amount_tiyn=sign * refund.amount_tiyn,
        asset=refund.asset,
        quantity=sign * refund.quantity,
    )


def _check(refund: Refund) -> None:
    if refund.taken_from not in REFUNDABLE:
        raise ValueError(f"nothing is refunded from {refund.taken_from.code}")
    exact_int(refund.amount_tiyn, name="amount_tiyn")
    exact_int(refund.quantity, name="quantity")
    in_coins = refund.taken_from == UNIDENTIFIED
    wanted, other = refund.amount_tiyn, refund.quantity
    if in_coins:
        wanted, other = other, wanted
    if wanted <= 0 or other or bool(refund.asset) != in_coins:
        raise ValueError("a refund is some tiyn; of coins without a price, some base units")


def _check_funds(refund: Refund) -> None:
    """Raise InsufficientFundsError unless the demand and the beneficiary have what is asked for."""
    tiyn, units = refundable(
        demand=refund.demand, beneficiary=refund.beneficiary, account=refund.taken_from
    )
    if refund.amount_tiyn > tiyn or refund.quantity > units:
        raise InsufficientFundsError(f"{refund.source}: more than was paid")
    if refund.amount_tiyn > -balance_of(refund.taken_from, beneficiary=refund.beneficiary):
        raise InsufficientFundsError(f"{refund.source}: more than {refund.beneficiary} has left")


def _check_same(entry: JournalEntry, refund: Refund, lines: Sequence[Line]) -> None:
    """Raise SourceConflictError unless a booked refund is the one that is asked for."""
    booked = {
        (one.account, one.beneficiary, -one.amount_tiyn, one.asset, -one.quantity)
        for one in mirrored(entry)
    }
    asked = {
        (one.account, one.beneficiary, one.amount_tiyn, one.asset, one.quantity) for one in lines
    }
    if booked != asked or entry.demand != refund.demand:
        raise SourceConflictError(f"{refund.source} was booked before with other figures")


def _approved(steps: dict[str, JournalEntry], source: str, beneficiary: str) -> JournalEntry:
    """The entry of an approved refund; raises SourceConflictError where there is none."""
    entry = steps.get("refund")
    if entry is None or {one.account.beneficiary for one in entry.postings.all()} != {beneficiary}:
        raise SourceConflictError(f"{source} is no refund of {beneficiary}")
    return entry


def _check_coins(coins: Coins) -> None:
    if coins.paid_from not in PAID_FROM:
        raise ValueError(f"no refund is paid from {coins.paid_from.code}")
    if exact_int(coins.quantity, name="quantity") <= 0:
        raise ValueError("quantity must be positive")
    if exact_int(coins.fee_quantity, name="fee_quantity") < 0:
        raise ValueError("fee_quantity must not be negative")


def _check_sent(entry: JournalEntry, coins: Coins) -> None:
    """Raise SourceConflictError unless a refund left as it is said again."""
    gone = {
        (one.account.code, one.asset, -int(one.quantity))
        for one in entry.postings.all()
        if one.quantity < 0
    }
    if gone != {(coins.paid_from.code, coins.asset, coins.quantity + coins.fee_quantity)}:
        raise SourceConflictError("a refund left before with other coins")
