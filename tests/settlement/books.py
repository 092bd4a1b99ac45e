"""An independent model of the ledger: whole numbers and dictionaries, and none of our code.

It keeps what happened, not what was posted, and says from that what every account must hold.
"""

from collections import defaultdict
from dataclasses import dataclass, field
from fractions import Fraction
from math import floor

PRICES = {"BTC": (4_500_000_000, 10**8), "USDT": (47_537, 10**6)}
"""Tiyn for so many base units."""
FEE = Fraction(125, 10_000)


@dataclass
class Asked:
    """An invoice of one shop in one coin; its payments that stand: units, and whether in time."""

    shop: str
    symbol: str
    amount: int
    payments: dict[str, tuple[int, bool]] = field(default_factory=dict)
    charged: int = 0

    def worth(self, *, late: bool = True) -> Fraction:
        tiyn, units = PRICES[self.symbol]
        came = sum(units for units, on_time in self.payments.values() if late or on_time)
        return Fraction(tiyn * came, units)

    @property
    def in_time(self) -> Fraction:
        return self.worth(late=False)

    @property
    def is_paid(self) -> bool:
        return self.in_time >= self.amount

    @property
    def rounding(self) -> int:
        """What is left over and worth less than one base unit, or eight digits of it."""
        tiyn, units = PRICES[self.symbol]
        left = self.in_time - self.amount
        return floor(self.in_time) - self.amount if 0 <= left < Fraction(tiyn, units) else 0

    def holds(self, account: str) -> int:
        """What the payments alone put on an account."""
        late = floor(self.worth()) - floor(self.in_time)
        if not self.is_paid:
            return {"unsettled_receipts": floor(self.in_time), "overpayments": late}.get(account, 0)
        over = floor(self.in_time) - self.amount - self.rounding
        return {"merchant_payable": self.amount, "overpayments": late + over}.get(account, 0)


@dataclass
class Sum:
    """A refund or a payout: how much, of which invoice and account, and what became of it."""

    shop: str
    amount: int
    invoice: str = ""
    account: str = ""
    ended: str = ""
    confirmed: bool = False


@dataclass
class Books:
    """Everything that happened."""

    invoices: dict[str, Asked] = field(default_factory=dict)
    refunds: dict[str, Sum] = field(default_factory=dict)
    payouts: dict[str, Sum] = field(default_factory=dict)
    moved_units: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    moved_cost: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    lots: dict[str, list[list[int]]] = field(default_factory=lambda: defaultdict(list))
    proceeds: int = 0
    result: int = 0

    def refunded(self, account: str, *, shop: str = "", invoice: str = "") -> int:
        return sum(
            one.amount
            for one in self.refunds.values()
            if one.account == account
            and one.ended != "cancelled"
            and (one.shop == shop or one.invoice == invoice)
        )

    def net(self, shop: str) -> int:
        """What a shop is owed, less what it owes."""
        invoices = [one for one in self.invoices.values() if one.shop == shop]
        out = sum(
            one.amount
            for one in self.payouts.values()
            if one.shop == shop and one.ended != "returned"
        )
        earned = sum(one.holds("merchant_payable") - one.charged for one in invoices)
        return earned - self.refunded("merchant_payable", shop=shop) - out

    def balance(self, account: str, shop: str) -> int:
        """What an account of a shop holds."""
        if account == "merchant_payable":
            return max(self.net(shop), 0)
        if account == "merchant_receivable":
            return max(-self.net(shop), 0)
        kept = sum(one.holds(account) for one in self.invoices.values() if one.shop == shop)
        return kept - self.refunded(account, shop=shop)

    def refundable(self, account: str, invoice: str) -> int:
        asked = self.invoices[invoice]
        left = asked.holds(account) - self.refunded(account, invoice=invoice)
        return min(left, self.balance(account, asked.shop))

    def held(self, symbol: str) -> tuple[int, int]:
        """Base units and tiyn of the coins that were not moved on."""
        invoices = [one for one in self.invoices.values() if one.symbol == symbol]
        units = sum(units for one in invoices for units, _in_time in one.payments.values())
        cost = sum(floor(one.worth()) for one in invoices)
        return units - self.moved_units[symbol], cost - self.moved_cost[symbol]

    def move(self, symbol: str, quantity: int) -> int:
        """Take coins from those held; return what they cost on average."""
        units, tiyn = self.held(symbol)
        cost = 0
        if units > 0 and tiyn > 0:
            cost = tiyn if quantity >= units else floor(Fraction(tiyn * quantity, units))
        self.moved_units[symbol] += quantity
        self.moved_cost[symbol] += cost
        return cost

    def sell(self, symbol: str, quantity: int) -> int:
        """Take coins from the oldest lots; return what they cost."""
        cost = 0
        for lot in self.lots[symbol]:
            size, price, taken = lot
            part = min(size - taken, quantity)
            cost += price * (taken + part) // size - price * taken // size
            lot[2] += part
            quantity -= part
        assert quantity == 0
        return cost

    def in_treasury(self, symbol: str) -> int:
        return sum(size - taken for size, _price, taken in self.lots[symbol])
