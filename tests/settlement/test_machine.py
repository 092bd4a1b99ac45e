"""Receipts, reversals, fees, refunds, sales, payouts and returns in any order, against a model.

``LEDGER_EXAMPLES=2000 LEDGER_STEPS=50`` (``make machine``) looks longer.
"""

import os
from decimal import Decimal
from itertools import count
from math import floor

import pytest
from django.db import connection, transaction
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from settlement.accounts import (
    COINS_HELD,
    MERCHANT_PAYABLE,
    OVERPAYMENTS,
    UNSETTLED_RECEIPTS,
)
from settlement.conversions import Fill, book_fill
from settlement.fees import charge_fee
from settlement.ledger import InsufficientFundsError, SourceConflictError
from settlement.payout_entries import book_payout, confirm_payout, return_payout
from settlement.rates.sources import FixedSource
from settlement.refund_entries import (
    Coins,
    Refund,
    approve_refund,
    book_refund_sent,
    cancel_refund,
)
from settlement.treasury import book_sweep
from tests.settlement.books import FEE, PRICES, Asked, Books, Sum
from tests.settlement.demand import ASSETS, NOW, Demand

EXAMPLES = int(os.environ.get("LEDGER_EXAMPLES", "100"))
STEPS = int(os.environ.get("LEDGER_STEPS", "12"))
RATES = {"BTC": Decimal(45_000_000), "USDT": Decimal("475.37")}
SHOPS = ("aigul", "bolat")
TAKEN_FROM = {one.code: one for one in (MERCHANT_PAYABLE, OVERPAYMENTS, UNSETTLED_RECEIPTS)}
INVOICES = st.sampled_from([f"i{number}" for number in range(4)])
SHARES = st.sampled_from([1, 10, 49, 50, 51, 100, 101, 130])
"""Hundredths of what there is, or is asked for."""
BALANCES = """
    SELECT a.code, a.beneficiary, sum(p.amount_tiyn)
    FROM settlement_posting p JOIN settlement_account a ON a.id = p.account_id
    GROUP BY a.code, a.beneficiary
"""
COINS = """
    SELECT a.code, p.asset, sum(p.quantity), sum(p.amount_tiyn)
    FROM settlement_posting p JOIN settlement_account a ON a.id = p.account_id
    WHERE p.asset <> '' GROUP BY a.code, p.asset
"""


def units_for(asked: Asked) -> int:
    """Base units that an invoice asks for."""
    tiyn, units = PRICES[asked.symbol]
    return -(-asked.amount * units // tiyn)


class Ledger(RuleBasedStateMachine):
    """The ledger in the database beside the model."""

    def __init__(self) -> None:
        super().__init__()
        self.example = transaction.atomic()
        self.example.__enter__()
        self.names = count()
        self.books = Books()
        self.demands: dict[str, Demand] = {}
        for number, (shop, symbol, amount) in enumerate(
            [
                (SHOPS[0], "BTC", 450_000),
                (SHOPS[0], "USDT", 99_999),
                (SHOPS[1], "BTC", 123_457),
                (SHOPS[1], "USDT", 7),
            ]
        ):
            name = f"i{number}"
            self.demands[name] = Demand(
                amount_tiyn=amount,
                name=name,
                beneficiary=shop,
                rates=FixedSource({symbol: RATES[symbol]}),
            )
            self.books.invoices[name] = Asked(shop=shop, symbol=symbol, amount=amount)

    def teardown(self) -> None:
        transaction.set_rollback(True)
        self.example.__exit__(None, None, None)

    def name(self) -> str:
        return f"s{next(self.names)}"

    def fee(self, invoice: str) -> None:
        """The fee follows every change, as in the transaction that settles."""
        asked = self.books.invoices[invoice]
        payable = asked.holds("merchant_payable")
        taken = charge_fee(
            demand=invoice,
            beneficiary=asked.shop,
            payable_tiyn=payable,
            fee_basis_points=125,
            effective_at=NOW,
        )
        asked.charged = round_half_down(payable)
        assert taken == asked.charged

    @rule(invoice=INVOICES, share=SHARES, on_time=st.booleans())
    def receive(self, invoice: str, share: int, on_time: bool) -> None:
        asked, source = self.books.invoices[invoice], self.name()
        units = max(1, units_for(asked) * share // 100)
        asked.payments[source] = (units, on_time)
        self.demands[invoice].receive(asked.symbol, units, source=source, on_time=on_time)
        self.fee(invoice)

    @precondition(lambda self: any(one.payments for one in self.books.invoices.values()))
    @rule(data=st.data(), again=st.booleans())
    def take_back(self, data: st.DataObject, again: bool) -> None:
        stand = [(name, key) for name, one in self.books.invoices.items() for key in one.payments]
        invoice, source = data.draw(st.sampled_from(stand))
        units, on_time = self.books.invoices[invoice].payments.pop(source)
        self.demands[invoice].take_back(source)
        self.fee(invoice)
        if again:
            asked = self.books.invoices[invoice]
            asked.payments[source] = (units, on_time)
            self.demands[invoice].receive(asked.symbol, units, source=source, on_time=on_time)
            self.fee(invoice)

    @rule(invoice=INVOICES, account=st.sampled_from(sorted(TAKEN_FROM)), share=SHARES)
    def approve(self, invoice: str, account: str, share: int) -> None:
        asked, source = self.books.invoices[invoice], self.name()
        there = self.books.refundable(account, invoice)
        amount = max(1, max(there, asked.holds(account)) * share // 100)
        refund = Refund(
            source=source,
            demand=invoice,
            beneficiary=asked.shop,
            taken_from=TAKEN_FROM[account],
            amount_tiyn=amount,
        )
        if amount > there:
            with pytest.raises(InsufficientFundsError):
                approve_refund(refund, effective_at=NOW)
            return
        assert approve_refund(refund, effective_at=NOW)
        assert not approve_refund(refund, effective_at=NOW)
        self.books.refunds[source] = Sum(asked.shop, amount, invoice, account)

    @precondition(lambda self: self.books.refunds)
    @rule(data=st.data(), sends=st.booleans(), fee=st.integers(0, 5))
    def end_refund(self, data: st.DataObject, sends: bool, fee: int) -> None:
        source = data.draw(st.sampled_from(sorted(self.books.refunds)))
        refund = self.books.refunds[source]
        symbol = self.books.invoices[refund.invoice].symbol
        coins = Coins(
            paid_from=COINS_HELD, asset=ASSETS[symbol].caip19, quantity=50, fee_quantity=fee
        )
        ends = "sent" if sends else "cancelled"
        who = {"source": source, "beneficiary": refund.shop, "effective_at": NOW}
        if refund.ended:
            if ends != refund.ended:
                with pytest.raises(SourceConflictError):
                    self.book_end(who, coins, sends=sends)
            elif not sends:
                assert not self.book_end(who, coins, sends=sends)
            return
        assert self.book_end(who, coins, sends=sends)
        refund.ended = ends
        if sends:
            cost = self.books.move(symbol, 50 + fee)
            gas = cost * fee // (50 + fee)
            self.books.result += refund.amount - cost + gas

    def book_end(self, who: dict[str, object], coins: Coins, *, sends: bool) -> bool:
        if sends:
            return book_refund_sent(coins=coins, **who)  # type: ignore[arg-type]
        return cancel_refund(reason="x", **who)  # type: ignore[arg-type]

    @rule(shop=st.sampled_from(SHOPS), share=SHARES)
    def pay_out(self, shop: str, share: int) -> None:
        owed, source = self.books.balance("merchant_payable", shop), self.name()
        amount = max(1, owed * share // 100)
        if amount > owed:
            with pytest.raises(InsufficientFundsError):
                book_payout(source=source, beneficiary=shop, amount_tiyn=amount, effective_at=NOW)
            return
        for times in (True, False):
            assert times == book_payout(
                source=source, beneficiary=shop, amount_tiyn=amount, effective_at=NOW
            )
        self.books.payouts[source] = Sum(shop, amount)

    @precondition(lambda self: self.books.payouts)
    @rule(data=st.data(), comes_back=st.booleans())
    def end_payout(self, data: st.DataObject, comes_back: bool) -> None:
        source = data.draw(st.sampled_from(sorted(self.books.payouts)))
        payout = self.books.payouts[source]
        if comes_back:
            fresh = return_payout(
                source=source, beneficiary=payout.shop, reason="x", effective_at=NOW
            )
            assert fresh == (payout.ended != "returned")
            payout.ended = "returned"
        elif payout.ended == "returned" and not payout.confirmed:
            with pytest.raises(SourceConflictError):
                confirm_payout(source=source, beneficiary=payout.shop, effective_at=NOW)
        else:
            fresh = confirm_payout(source=source, beneficiary=payout.shop, effective_at=NOW)
            assert fresh == (not payout.confirmed)
            payout.confirmed = True

    @rule(symbol=st.sampled_from(sorted(RATES)), share=SHARES)
    def sweep(self, symbol: str, share: int) -> None:
        quantity = self.books.held(symbol)[0] * min(share, 100) // 100
        if quantity <= 0:
            return
        source, asset = self.name(), ASSETS[symbol].caip19
        for times in (True, False):
            assert times == book_sweep(
                source=source, asset=asset, quantity=quantity, effective_at=NOW
            )
        self.books.lots[symbol].append([quantity, self.books.move(symbol, quantity), 0])

    @rule(symbol=st.sampled_from(sorted(RATES)), share=SHARES, proceeds=st.integers(0, 10**6))
    def sell(self, symbol: str, share: int, proceeds: int) -> None:
        there = self.books.in_treasury(symbol)
        fill = Fill(
            source=self.name(),
            asset=ASSETS[symbol].caip19,
            quantity=max(1, there * share // 100),
            proceeds_tiyn=proceeds,
        )
        if fill.quantity > there:
            with pytest.raises(InsufficientFundsError):
                book_fill(fill, effective_at=NOW)
            return
        assert book_fill(fill, effective_at=NOW)
        assert not book_fill(fill, effective_at=NOW)
        self.books.result += proceeds - self.books.sell(symbol, fill.quantity)
        self.books.proceeds += proceeds

    @invariant()
    def every_account_holds_what_happened(self) -> None:
        with connection.cursor() as cursor:
            cursor.execute(BALANCES)
            rows = {(code, owner): int(tiyn) for code, owner, tiyn in cursor.fetchall()}
            cursor.execute(COINS)
            coins = {(code, asset): (int(u), int(t)) for code, asset, u, t in cursor.fetchall()}
        assert sum(rows.values()) == 0
        for shop in SHOPS:
            self.check_shop(shop, rows)
        confirmed = [one for one in self.books.payouts.values() if one.confirmed]
        paid = sum(one.amount for one in confirmed if one.ended != "returned")
        assert rows.get(("bank_settlement", ""), 0) == -paid
        assert rows.get(("tenge_at_exchange", ""), 0) == self.books.proceeds
        assert rows.get(("exchange_result", ""), 0) == -self.books.result
        fees = sum(one.charged for one in self.books.invoices.values())
        assert rows.get(("operator_fee", ""), 0) == -fees
        for symbol in RATES:
            self.check_coins(symbol, coins)

    def check_shop(self, shop: str, rows: dict[tuple[str, str], int]) -> None:
        books = self.books
        for account in (*TAKEN_FROM, "merchant_receivable"):
            held = rows.get((account, shop), 0)
            sign = 1 if account == "merchant_receivable" else -1
            assert held * sign == books.balance(account, shop), account
        open_refunds = sum(
            one.amount for one in books.refunds.values() if one.shop == shop and not one.ended
        )
        assert rows.get(("refunds_payable", shop), 0) == -open_refunds
        on_the_way = sum(
            one.amount
            for one in books.payouts.values()
            if one.shop == shop and not one.ended and not one.confirmed
        )
        assert rows.get(("payouts_in_transit", shop), 0) == -on_the_way

    def check_coins(self, symbol: str, coins: dict[tuple[str, str], tuple[int, int]]) -> None:
        asset = ASSETS[symbol].caip19
        assert coins.get(("coins_held", asset), (0, 0)) == self.books.held(symbol)
        treasury = coins.get(("coins_in_treasury", asset), (0, 0))
        lots = self.books.lots[symbol]
        cost = sum(price - price * taken // size for size, price, taken in lots)
        assert treasury == (self.books.in_treasury(symbol), cost)
        assert sum(units for (_code, one), (units, _tiyn) in coins.items() if one == asset) == 0


def round_half_down(payable: int) -> int:
    """The larger remainder of net and fee takes the tiyn; the net is the earlier of two alike."""
    fee = payable * FEE
    rest = fee - floor(fee)
    return floor(fee) + (rest > 1 - rest)


@pytest.mark.case("R124")
@pytest.mark.case("R128")
@pytest.mark.django_db
@pytest.mark.usefixtures("app_role")
@pytest.mark.timeout(0 if EXAMPLES > 100 else 600)
def test_the_ledger_is_its_model() -> None:
    run_state_machine_as_test(
        Ledger,
        settings=settings(
            max_examples=EXAMPLES,
            stateful_step_count=STEPS,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
