"""Coins that leave a place of ours, at their cost: on average where held, by lots in the treasury.

Coins held are deposits of the last hours, moved on together; in the treasury they are sold one lot
after the other.
"""

from dataclasses import dataclass
from fractions import Fraction

from django.db.models import Sum

from settlement.accounts import COINS_IN_TREASURY, AccountCode
from settlement.ledger import Line
from settlement.lots import cost_of_next, use_lots
from settlement.models import Posting


@dataclass(frozen=True, slots=True, kw_only=True)
class Leaving:
    """Base units of an asset that leave an account of ours, and the tiyn that they cost."""

    account: AccountCode
    asset: str
    quantity: int
    cost_tiyn: int

    @property
    def line(self) -> Line:
        """The posting that takes them off the account."""
        return Line(
            account=self.account,
            amount_tiyn=-self.cost_tiyn,
            asset=self.asset,
            quantity=-self.quantity,
        )


def leaving(*, account: AccountCode, asset: str, quantity: int) -> Leaving:
    """What coins that leave an account cost; call it under ``lock_assets``.

    Raises InsufficientFundsError when the treasury holds less. Coins held may be known to leave
    before their receipt is booked: they leave at no cost, and the receipt brings it.
    """
    if account == COINS_IN_TREASURY:
        cost_tiyn = cost_of_next(asset=asset, units=quantity)
    else:
        cost_tiyn = _average_cost_tiyn(account, asset, quantity)
    return Leaving(account=account, asset=asset, quantity=quantity, cost_tiyn=cost_tiyn)


def record_left(gone: Leaving, *, entry_id: int) -> None:
    """Note on the line of lots that coins left with an entry."""
    if gone.account == COINS_IN_TREASURY:
        use_lots(entry_id=entry_id, asset=gone.asset, units=gone.quantity, cost_tiyn=gone.cost_tiyn)


def units_on(account: AccountCode, *, asset: str) -> tuple[int, int]:
    """Base units and tiyn of an asset that one of the gateway's own accounts holds."""
    sums = Posting.objects.filter(account__code=account.code, asset=asset).aggregate(
        units=Sum("quantity"), tiyn=Sum("amount_tiyn")
    )
    return int(sums["units"] or 0), int(sums["tiyn"] or 0)


def _average_cost_tiyn(account: AccountCode, asset: str, quantity: int) -> int:
    """What ``quantity`` of an account's coins cost on average, rounded down; all cost all."""
    units, tiyn = units_on(account, asset=asset)
    if tiyn <= 0 or units <= 0:
        return 0
    return tiyn if quantity >= units else int(Fraction(tiyn * quantity, units))
