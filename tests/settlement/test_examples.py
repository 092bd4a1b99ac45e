"""The worked examples of docs/ledger.md, executed."""

import re
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path

import pytest
from django.db import transaction

from settlement.accounts import (
    COINS_HELD,
    MERCHANT_PAYABLE,
    OVERPAYMENTS,
    UNIDENTIFIED,
    AccountCode,
)
from settlement.conversions import Fill, book_fill, book_withdrawal
from settlement.fees import charge_fee
from settlement.models import Posting
from settlement.payout_entries import book_payout, confirm_payout, return_payout
from settlement.rates.sources import FixedSource, Price
from settlement.refund_entries import Coins as SentCoins
from settlement.refund_entries import Refund, approve_refund, book_refund_sent, cancel_refund
from settlement.treasury import book_sweep, book_sweep_gas, send_sweep
from tests.settlement.demand import BTC, ETH, NOW, USDT, Coins, Demand

PAGE = (Path(__file__).resolve().parents[2] / "docs/ledger.md").read_text()
PRICES = FixedSource({"BTC": Decimal(45_000_000), "USDT": Decimal(475)})


def paid_exactly(demand: Demand) -> None:
    demand.receive("BTC", 10_000)


def paid_in_two_parts(demand: Demand) -> None:
    demand.receive("BTC", 6_000, source="first")
    demand.receive("BTC", 4_000, source="second")


def paid_twice(demand: Demand) -> None:
    demand.receive("BTC", 10_000, source="first")
    demand.receive("BTC", 10_000, source="second")
    demand.take_back("first")


def paid_too_late(demand: Demand) -> None:
    demand.receive("BTC", 10_000, on_time=False)


def dust(demand: Demand) -> None:
    demand.change(come={f"tx/log:{number}": Coins("USDT", 9) for number in range(3)})


def a_coin_without_a_price(demand: Demand) -> None:
    demand.receive("ETH", 5 * 10**17)


def swept_to_the_treasury(demand: Demand) -> None:
    demand.receive("USDT", 9_473_685)
    with transaction.atomic():
        book_sweep_gas(
            source="tx",
            asset=ETH.caip19,
            decimals=ETH.decimals,
            quantity=10**14,
            price=Price(tenge=Decimal(1_500_000), source="fixed", observed_at=NOW),
            effective_at=NOW,
        )
        book_sweep(source="tx/moved", asset=USDT.caip19, quantity=9_473_685, effective_at=NOW)


def sweep_on_the_way(demand: Demand) -> None:
    demand.receive("USDT", 9_473_685)
    with transaction.atomic():
        send_sweep(source="tx/moved", asset=USDT.caip19, quantity=9_473_685, effective_at=NOW)
        book_sweep(source="tx/moved", asset=USDT.caip19, quantity=9_473_685, effective_at=NOW)


def fee(demand: Demand) -> None:
    demand.receive("BTC", 10_000)
    charge(demand, 450_000)


def fee_of_a_payment_that_was_taken_back(demand: Demand) -> None:
    fee(demand)
    demand.take_back("tx/out:0")
    charge(demand, 0)


@transaction.atomic
def charge(demand: Demand, payable_tiyn: int) -> None:
    charge_fee(
        demand=demand.name,
        beneficiary=demand.beneficiary,
        payable_tiyn=payable_tiyn,
        fee_basis_points=125,
        effective_at=NOW,
    )


def sold_at_an_exchange(demand: Demand) -> None:
    demand.receive("USDT", 9_473_685)
    with transaction.atomic():
        book_sweep(source="one", asset=USDT.caip19, quantity=4_000_000, effective_at=NOW)
        book_sweep(source="two", asset=USDT.caip19, quantity=5_473_685, effective_at=NOW)
        fill = Fill(
            source="exchange/fill:1",
            asset=USDT.caip19,
            quantity=6_000_000,
            proceeds_tiyn=288_000,
            fee_tiyn=288,
        )
        book_fill(fill, effective_at=NOW)
        book_withdrawal(source="exchange/out:1", amount_tiyn=287_000, effective_at=NOW)


def bitcoin_for_dollars(demand: Demand) -> None:
    demand.receive("BTC", 10_000)
    with transaction.atomic():
        book_sweep(source="one", asset=BTC.caip19, quantity=10_000, effective_at=NOW)
        fill = Fill(
            source="exchange/fill:1",
            asset=BTC.caip19,
            quantity=10_000,
            proceeds_tiyn=447_500,
            fee_tiyn=475,
            bought_asset=USDT.caip19,
            bought_quantity=9_410_000,
        )
        book_fill(fill, effective_at=NOW)


def refund_of(demand: Demand, account: AccountCode, amount_tiyn: int) -> Refund:
    return Refund(
        source="refund:1",
        demand=demand.name,
        beneficiary=demand.beneficiary,
        taken_from=account,
        amount_tiyn=amount_tiyn,
    )


def refunded(demand: Demand) -> None:
    demand.receive("BTC", 10_000)
    with transaction.atomic():
        approve_refund(refund_of(demand, MERCHANT_PAYABLE, 180_000), effective_at=NOW)
        coins = SentCoins(paid_from=COINS_HELD, asset=BTC.caip19, quantity=4_100, fee_quantity=200)
        book_refund_sent(
            source="refund:1", beneficiary=demand.beneficiary, coins=coins, effective_at=NOW
        )


def refund_cancelled(demand: Demand) -> None:
    demand.receive("BTC", 11_000)
    with transaction.atomic():
        approve_refund(refund_of(demand, OVERPAYMENTS, 45_000), effective_at=NOW)
        cancel_refund(
            source="refund:1",
            beneficiary=demand.beneficiary,
            reason="no address given",
            effective_at=NOW,
        )


def coins_without_a_price_refunded(demand: Demand) -> None:
    demand.receive("ETH", 5 * 10**17)
    refund = Refund(
        source="refund:1",
        demand=demand.name,
        beneficiary=demand.beneficiary,
        taken_from=UNIDENTIFIED,
        asset=ETH.caip19,
        quantity=5 * 10**17,
    )
    coins = SentCoins(paid_from=COINS_HELD, asset=ETH.caip19, quantity=5 * 10**17)
    with transaction.atomic():
        approve_refund(refund, effective_at=NOW)
        book_refund_sent(
            source="refund:1", beneficiary=demand.beneficiary, coins=coins, effective_at=NOW
        )


@transaction.atomic
def pay_out(demand: Demand, amount_tiyn: int = 450_000) -> None:
    book_payout(
        source="payout:1",
        beneficiary=demand.beneficiary,
        amount_tiyn=amount_tiyn,
        effective_at=NOW,
    )


@transaction.atomic
def confirm(demand: Demand) -> None:
    confirm_payout(source="payout:1", beneficiary=demand.beneficiary, effective_at=NOW)


def paid_out(demand: Demand) -> None:
    demand.receive("BTC", 10_000)
    pay_out(demand)
    confirm(demand)


@transaction.atomic
def payout_returned(demand: Demand) -> None:
    paid_out(demand)
    return_payout(
        source="payout:1",
        beneficiary=demand.beneficiary,
        reason="account closed",
        effective_at=NOW,
    )


def taken_back_after_the_payout(demand: Demand) -> None:
    demand.receive("BTC", 10_000)
    pay_out(demand, 300_000)
    demand.take_back("tx/out:0")
    later = Demand(name="later", rates=PRICES)
    later.receive("BTC", 10_000, source="later")


EXAMPLES: dict[str, Callable[[Demand], None]] = {
    "Paid exactly": paid_exactly,
    "Paid in two parts": paid_in_two_parts,
    "Paid twice, and the first taken back": paid_twice,
    "Paid too late": paid_too_late,
    "Dust": dust,
    "A coin without a price": a_coin_without_a_price,
    "Fee": fee,
    "The fee of a payment that is taken back": fee_of_a_payment_that_was_taken_back,
    "Swept to the treasury": swept_to_the_treasury,
    "On its way to the treasury": sweep_on_the_way,
    "Sold at an exchange": sold_at_an_exchange,
    "Bitcoin sold for a stablecoin": bitcoin_for_dollars,
    "Refunded": refunded,
    "A refund that is cancelled": refund_cancelled,
    "Coins without a price, refunded": coins_without_a_price_refunded,
    "Paid out": paid_out,
    "A payout that comes back": payout_returned,
    "Taken back after the payout": taken_back_after_the_payout,
}


def tiyn(text: str) -> int:
    return int(text.replace(" ", "").replace(",", "") or "0")


def rows_of(heading: str) -> list[tuple[str, str, int, int]]:
    """The table under a heading: kind, account, tiyn (debit positive), base units."""
    section = PAGE.split(f"\n### {heading}\n")[1].split("\n#")[0]
    lines = [line[1:-1].split("|") for line in section.splitlines() if line.startswith("| ")]
    return [
        (kind.strip(), account.strip(" `"), tiyn(debit) - tiyn(credit), tiyn(units))
        for kind, account, debit, credit, units in lines[1:]
    ]


def test_every_example_is_executed() -> None:
    assert re.findall(r"^### (.+)$", PAGE, re.MULTILINE) == list(EXAMPLES)


@pytest.mark.django_db
@pytest.mark.usefixtures("app_role")
@pytest.mark.parametrize("heading", EXAMPLES)
def test_an_example_is_booked_as_the_page_says(heading: str) -> None:
    EXAMPLES[heading](Demand(rates=PRICES))
    posted = Posting.objects.select_related("entry", "account").order_by("entry_id", "pk")
    assert rows_of(heading) == [
        (one.entry.kind, one.account.code, one.amount_tiyn, int(one.quantity)) for one in posted
    ]
