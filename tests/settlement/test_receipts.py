"""Receipts and allocations: exact to the tiyn, in whatever order payments come and go."""

from collections import defaultdict
from fractions import Fraction
from math import floor
from uuid import uuid4

import pytest
from django.db import transaction
from django.db.models import Sum
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from settlement.accounts import (
    COINS_HELD,
    MERCHANT_PAYABLE,
    OVERPAYMENTS,
    ROUNDING,
    UNIDENTIFIED,
    UNSETTLED_RECEIPTS,
)
from settlement.entries import ALLOCATED, Receipt, book_receipts
from settlement.ledger import LedgerError, SourceConflictError, balance_of, trial_balance
from settlement.models import JournalEntry, Posting
from settlement.rates.quoting import quantity_for, worth_exact
from settlement.rates.sources import FixedSource
from tests.settlement.demand import ASSETS, NOW, RATES, Coins, Demand

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("app_role")]


def held(symbol: str) -> int:
    """Base units in ``coins_held``."""
    rows = Posting.objects.filter(account__code=COINS_HELD.code, asset=ASSETS[symbol].caip19)
    return int(rows.aggregate(units=Sum("quantity"))["units"] or 0)


def test_an_exact_payment_is_owed_whole_and_booked_once() -> None:
    demand = Demand()
    assert demand.receive("BTC", 10_000).is_settled
    entries = JournalEntry.objects.count()
    assert demand.receive("BTC", 10_000).payable_tiyn == 450_000
    assert JournalEntry.objects.count() == entries == 2
    assert demand.owed(MERCHANT_PAYABLE) == balance_of(COINS_HELD) == 450_000
    assert held("BTC") == 10_000
    assert trial_balance().difference_tiyn == 0


@pytest.mark.parametrize(
    "coins", [Coins("BTC", 9_999), Coins("USDT", 10_000)], ids=["quantity", "coin"]
)
def test_a_source_with_other_figures_is_refused(coins: Coins) -> None:
    demand = Demand()
    demand.receive("BTC", 10_000)
    with pytest.raises(SourceConflictError):
        demand.change(come={"tx/out:0": coins})
    demand.beneficiary = "bolat"
    with pytest.raises(SourceConflictError):
        demand.receive("BTC", 10_000)


def test_a_quote_that_is_not_there_is_refused() -> None:
    receipt = Receipt(source="x", asset="y", quote_id=uuid4(), quantity=5)
    with transaction.atomic(), pytest.raises(LedgerError, match="not there"):
        book_receipts(demand="x", beneficiary="aigul", receipts=[receipt], effective_at=NOW)


@pytest.mark.case("R122")
def test_what_rounding_up_adds_goes_to_rounding() -> None:
    demand = Demand(100_001)
    assert demand.receive("BTC", demand.quotes["BTC"].quantity).payable_tiyn == 100_001
    assert 0 < demand.owed(ROUNDING) <= 45


@pytest.mark.case("R122")
@pytest.mark.parametrize("amount_tiyn", [1, 99_000, 100_001, 123_456_750])
def test_ether_is_asked_for_in_eight_digits_and_what_that_adds_is_rounding(
    amount_tiyn: int,
) -> None:
    demand = Demand(amount_tiyn)
    ether = demand.quotes["ETH"]
    assert ether.quantity % 10**10 == 0
    assert demand.receive("ETH", ether.quantity).payable_tiyn == amount_tiyn
    assert demand.owed(OVERPAYMENTS) == 0


@pytest.mark.case("R122")
def test_one_payable_step_too_much_is_the_payers_and_not_rounding() -> None:
    exact = 151_234_567_000  # a whole number of steps: nothing is rounded
    demand = Demand(exact)
    ether = demand.quotes["ETH"]
    assert worth_exact(ether, quantity=ether.quantity) == exact
    demand.receive("ETH", ether.quantity + 10**10)
    assert demand.owed(ROUNDING) == 0
    assert demand.owed(OVERPAYMENTS) == 1


@pytest.mark.case("R27")
def test_parts_lose_no_tiyn_and_are_the_shops_only_together() -> None:
    demand = Demand(100_000)
    for number, quantity in enumerate((1, 741, 741, 738)):
        demand.receive("BTC", quantity, source=f"tx/out:{number}")
    assert demand.owed(UNSETTLED_RECEIPTS) == 2_221 * 45
    assert demand.owed(MERCHANT_PAYABLE) == 0

    demand.receive("BTC", 1_000, source="more")
    assert demand.owed(UNSETTLED_RECEIPTS) == 0
    assert demand.owed(MERCHANT_PAYABLE) == 100_000
    assert demand.owed(OVERPAYMENTS) == 3_221 * 45 - 100_000


@pytest.mark.case("R28")
@pytest.mark.parametrize("percent", [1, 33, 50, 77, 99])
@pytest.mark.parametrize("amount_tiyn", [1_00, 333_33, 1_000_01, 450_000])
def test_parts_in_two_coins_are_owed_whole(amount_tiyn: int, percent: int) -> None:
    demand = Demand(amount_tiyn)
    bitcoin, usdt = demand.quotes["BTC"], demand.quotes["USDT"]
    part = max(1, bitcoin.quantity * percent // 100)
    rest = quantity_for(usdt, amount_tiyn=amount_tiyn - worth_exact(bitcoin, quantity=part))
    demand.receive("BTC", part, source="first")
    assert demand.receive("USDT", rest, source="second").is_settled
    assert demand.owed(MERCHANT_PAYABLE) == amount_tiyn
    assert demand.owed(OVERPAYMENTS) == demand.owed(UNSETTLED_RECEIPTS) == 0
    assert trial_balance().difference_tiyn == 0


@pytest.mark.case("R5")
def test_a_reversal_undoes_once_and_the_payment_may_return() -> None:
    demand = Demand()
    demand.receive("BTC", 10_000)
    assert not demand.take_back("tx/out:0").is_settled
    entries = JournalEntry.objects.count()
    demand.take_back("tx/out:0")
    assert JournalEntry.objects.count() == entries
    assert demand.owed(MERCHANT_PAYABLE) == held("BTC") == balance_of(COINS_HELD) == 0

    demand.receive("BTC", 10_000)
    assert demand.owed(MERCHANT_PAYABLE) == 450_000
    assert set(JournalEntry.objects.values_list("kind", flat=True)) == {
        "receipt",
        "allocation",
        "reversal",
    }


@pytest.mark.case("R5")
@pytest.mark.case("R23")
def test_when_the_first_of_two_payments_is_taken_back_the_second_pays_the_shop() -> None:
    demand = Demand()
    demand.receive("BTC", 10_000, source="first")
    demand.receive("BTC", 10_000, source="second")
    assert demand.owed(OVERPAYMENTS) == 450_000
    assert demand.take_back("first").is_settled
    assert demand.owed(MERCHANT_PAYABLE) == 450_000
    assert demand.owed(OVERPAYMENTS) == 0


@pytest.mark.case("R24")
def test_a_late_payment_is_the_payers() -> None:
    demand = Demand()
    assert not demand.receive("BTC", 10_000, on_time=False).is_settled
    assert demand.owed(OVERPAYMENTS) == 450_000


@pytest.mark.case("R26")
def test_dust_is_booked_together_and_counts() -> None:
    demand = Demand(3)
    for first in range(0, 60, 20):
        dust = {f"tx/log:{number}": Coins("USDT", 1) for number in range(first, first + 20)}
        demand.change(come=dust)
    assert JournalEntry.objects.count() == 3
    assert held("USDT") == 60
    assert demand.owed(UNSETTLED_RECEIPTS) == floor(60 * Fraction(47537, 10**6)) == 2
    demand.take_back("tx/log:0")
    assert held("USDT") == 59
    assert trial_balance().difference_tiyn == 0


def test_coins_without_a_quote_stand_in_the_ledger_by_quantity() -> None:
    demand = Demand(rates=FixedSource({"BTC": RATES.tenge_by_symbol["BTC"]}))
    assert not demand.receive("USDT", 7_000_000, source="unpriced").is_settled
    demand.receive("BTC", 10_000, source="paid")
    owed = Posting.objects.filter(account__code=UNIDENTIFIED.code)
    assert [(one.amount_tiyn, int(one.quantity)) for one in owed] == [(0, -7_000_000)]
    assert held("USDT") == 7_000_000
    demand.take_back("unpriced")
    assert held("USDT") == 0
    assert demand.owed(MERCHANT_PAYABLE) == 450_000


@pytest.mark.case("R121")
def test_a_float_is_refused() -> None:
    with pytest.raises(TypeError):
        Demand().receive("BTC", 10_000.0)  # type: ignore[arg-type]


COINS = st.builds(
    Coins,
    symbol=st.sampled_from(["BTC", "USDT", "ETH"]),
    quantity=st.integers(1, 5) | st.integers(1, 12_000) | st.integers(1, 10**16),
    on_time=st.booleans(),
)
STEPS = st.lists(
    st.tuples(st.integers(0, 5), st.booleans(), st.booleans()), min_size=1, max_size=14
)


def reckoned(demand: Demand) -> dict[str, int]:
    """What the accounts must say, from the outputs and the prices alone, output by output."""
    worth: defaultdict[bool, Fraction] = defaultdict(Fraction)
    steps = [Fraction(0)]
    for coins in demand.standing.values():
        asset = ASSETS[coins.symbol]
        price_tiyn = Fraction(RATES.tenge_by_symbol[coins.symbol]) * 100
        worth[coins.on_time] += price_tiyn * coins.quantity / 10**asset.decimals
        if coins.on_time:
            steps.append(price_tiyn / 10 ** min(asset.decimals, 8))
    total, exact = worth[True] + worth[False], worth[True]
    paid = demand.amount_tiyn if exact >= demand.amount_tiyn else 0
    rounding = floor(exact) - paid if paid and exact - paid < max(steps) else 0
    return {
        COINS_HELD.code: -floor(total),
        MERCHANT_PAYABLE.code: paid,
        UNSETTLED_RECEIPTS.code: 0 if paid else floor(exact),
        ROUNDING.code: rounding,
        OVERPAYMENTS.code: floor(total) - (floor(exact) if not paid else paid + rounding),
    }


@given(
    amount_tiyn=st.integers(1, 600_000),
    outputs=st.lists(COINS, min_size=6, max_size=6),
    steps=STEPS,
)
@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_whatever_the_order_the_ledger_says_what_stands(
    amount_tiyn: int, outputs: list[Coins], steps: list[tuple[int, bool, bool]]
) -> None:
    """I2: balances are a pure function of the outputs that stand and the locked quotes."""
    with transaction.atomic():
        demand = Demand(amount_tiyn)
        come: dict[str, Coins] = {}
        gone: set[str] = set()
        for number, comes, ends_batch in [*steps, (0, True, True)]:
            source = f"tx/out:{number}"
            come.pop(source, None)
            gone.discard(source)
            if comes:
                come[source] = outputs[number]
            else:
                gone.add(source)
            if not ends_batch:
                continue
            demand.change(come=come, gone=gone)
            come, gone = {}, set()
            expected = reckoned(demand)
            assert {code: demand.owed(ALLOCATED[code]) for code in expected} == expected
            for symbol in ASSETS:
                stands = [one for one in demand.standing.values() if one.symbol == symbol]
                assert held(symbol) == sum(one.quantity for one in stands)
            assert trial_balance().difference_tiyn == 0
        transaction.set_rollback(True)
