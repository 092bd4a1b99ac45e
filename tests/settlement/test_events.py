"""Each kind of event is booked once for its source, and never for more than there is."""

from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal

import pytest
from django.db import IntegrityError, transaction
from hypothesis import given
from hypothesis import strategies as st

from settlement.accounts import (
    BANK_SETTLEMENT,
    COINS_HELD,
    COINS_IN_TRANSIT,
    COINS_IN_TREASURY,
    EXCHANGE_RESULT,
    GAS_RESERVE,
    MERCHANT_PAYABLE,
    MERCHANT_RECEIVABLE,
    OPERATOR_FEE,
    OVERPAYMENTS,
    PAYOUTS_IN_TRANSIT,
    REFUNDS_PAYABLE,
    TENGE_AT_EXCHANGE,
    UNIDENTIFIED,
)
from settlement.conversions import Fill, book_fill, book_withdrawal
from settlement.fees import charge_fee
from settlement.ledger import (
    Entry,
    InsufficientFundsError,
    Line,
    SourceConflictError,
    UnbalancedEntryError,
    balance_of,
    moved,
    post_entries,
)
from settlement.models import JournalEntry, Lot, LotUse
from settlement.money import split
from settlement.payout_entries import book_payout, confirm_payout, return_payout
from settlement.refund_entries import (
    Coins,
    Refund,
    approve_refund,
    book_refund_sent,
    cancel_refund,
)
from settlement.treasury import book_sweep, cancel_sweep, send_sweep
from tests.settlement.demand import BTC, ETH, NOW, USDT, Demand

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("app_role")]
WHO = {"beneficiary": "aigul", "effective_at": NOW}
SENT = Coins(paid_from=COINS_HELD, asset=BTC.caip19, quantity=1_000)


def refund_of(account: object, amount_tiyn: int, source: str = "refund") -> Refund:
    return Refund(
        source=source,
        demand="demand",
        beneficiary="aigul",
        taken_from=account,  # type: ignore[arg-type]
        amount_tiyn=amount_tiyn,
    )


def steps() -> dict[str, Callable[[], bool]]:
    """Every step of every event, in an order in which each may be booked."""
    fill = Fill(source="fill", asset=BTC.caip19, quantity=2_000, proceeds_tiyn=95_000)
    refund, other = refund_of(MERCHANT_PAYABLE, 45_000), refund_of(OVERPAYMENTS, 45_000, "other")
    return {
        "payout": lambda: book_payout(source="payout", amount_tiyn=300_000, **WHO),
        "confirmed": lambda: confirm_payout(source="payout", **WHO),
        "returned": lambda: return_payout(source="payout", reason="closed", **WHO),
        "refund": lambda: approve_refund(refund, effective_at=NOW),
        "sent": lambda: book_refund_sent(source="refund", coins=SENT, **WHO),
        "other": lambda: approve_refund(other, effective_at=NOW),
        "cancelled": lambda: cancel_refund(source="other", reason="no address", **WHO),
        "on its way": lambda: send_sweep(
            source="tx", asset=BTC.caip19, quantity=5_000, effective_at=NOW
        ),
        "swept": lambda: book_sweep(
            source="tx", asset=BTC.caip19, quantity=5_000, effective_at=NOW
        ),
        "fill": lambda: book_fill(fill, effective_at=NOW),
        "withdrawal": lambda: book_withdrawal(source="out", amount_tiyn=95_000, effective_at=NOW),
    }


@pytest.mark.case("R125")
@pytest.mark.case("R126")
def test_every_step_is_booked_once_however_often_it_is_told() -> None:
    Demand().receive("BTC", 11_000)
    for name, step in steps().items():
        assert step(), name
    count = JournalEntry.objects.count()
    for name, step in steps().items():
        assert not step(), name
    assert JournalEntry.objects.count() == count
    owed = {
        MERCHANT_PAYABLE: -405_000,
        OVERPAYMENTS: -45_000,
        REFUNDS_PAYABLE: 0,
        PAYOUTS_IN_TRANSIT: 0,
    }
    assert {one: balance_of(one, beneficiary="aigul") for one in owed} == owed
    assert balance_of(BANK_SETTLEMENT) == 95_000
    assert balance_of(EXCHANGE_RESULT) == -5_000
    assert balance_of(COINS_IN_TREASURY) == 3_000 * 45


@pytest.mark.parametrize(
    "told_otherwise",
    [
        lambda: book_payout(source="payout", amount_tiyn=300_001, **WHO),
        lambda: book_payout(
            source="payout", amount_tiyn=300_000, beneficiary="bolat", effective_at=NOW
        ),
        lambda: confirm_payout(source="payout", beneficiary="bolat", effective_at=NOW),
        lambda: confirm_payout(source="unknown", **WHO),
        lambda: return_payout(source="unknown", reason="", **WHO),
        lambda: approve_refund(refund_of(MERCHANT_PAYABLE, 45_001), effective_at=NOW),
        lambda: approve_refund(refund_of(OVERPAYMENTS, 45_000), effective_at=NOW),
        lambda: approve_refund(
            replace(refund_of(MERCHANT_PAYABLE, 45_000), demand="x"), effective_at=NOW
        ),
        lambda: book_refund_sent(source="refund", coins=replace(SENT, quantity=999), **WHO),
        lambda: book_refund_sent(source="unknown", coins=SENT, **WHO),
        lambda: book_refund_sent(source="other", coins=SENT, **WHO),
        lambda: cancel_refund(source="refund", reason="", **WHO),
        lambda: cancel_refund(source="unknown", reason="", **WHO),
        lambda: book_sweep(source="tx", asset=BTC.caip19, quantity=5_001, effective_at=NOW),
        lambda: send_sweep(source="tx", asset=BTC.caip19, quantity=5_001, effective_at=NOW),
        lambda: book_fill(
            Fill(source="fill", asset=BTC.caip19, quantity=2_000, proceeds_tiyn=95_001),
            effective_at=NOW,
        ),
        lambda: book_fill(
            Fill(source="fill", asset=BTC.caip19, quantity=2_001, proceeds_tiyn=95_000),
            effective_at=NOW,
        ),
        lambda: book_withdrawal(source="out", amount_tiyn=1, effective_at=NOW),
    ],
)
def test_a_source_with_other_figures_is_refused(told_otherwise: Callable[[], bool]) -> None:
    Demand().receive("BTC", 11_000)
    for step in steps().values():
        step()
    count = JournalEntry.objects.count()
    with pytest.raises(SourceConflictError):
        told_otherwise()
    assert JournalEntry.objects.count() == count


def test_a_returned_payout_is_not_confirmed() -> None:
    Demand().receive("BTC", 10_000)
    book_payout(source="payout", amount_tiyn=450_000, **WHO)
    assert return_payout(source="payout", reason="never sent", **WHO)
    assert balance_of(BANK_SETTLEMENT) == 0
    with pytest.raises(SourceConflictError, match="returned"):
        confirm_payout(source="payout", **WHO)


@pytest.mark.case("R124")
@pytest.mark.case("R129")
def test_nothing_is_paid_that_is_not_there() -> None:
    demand = Demand()
    demand.receive("BTC", 11_000)
    Demand(name="another").receive("BTC", 10_000, source="another")
    with pytest.raises(InsufficientFundsError):
        book_payout(source="payout", amount_tiyn=900_001, **WHO)
    # The shop has more, but so much was not paid for this demand.
    with pytest.raises(InsufficientFundsError, match="more than was paid"):
        approve_refund(refund_of(MERCHANT_PAYABLE, 450_001), effective_at=NOW)
    approve_refund(refund_of(MERCHANT_PAYABLE, 200_000, "first"), effective_at=NOW)
    with pytest.raises(InsufficientFundsError):
        approve_refund(refund_of(MERCHANT_PAYABLE, 250_001, "second"), effective_at=NOW)
    cancel_refund(source="first", reason="", **WHO)
    approve_refund(refund_of(MERCHANT_PAYABLE, 450_000, "whole"), effective_at=NOW)
    with pytest.raises(InsufficientFundsError):
        approve_refund(refund_of(OVERPAYMENTS, 45_001, "over"), effective_at=NOW)
    # So much was paid for the other one, but the shop was paid out.
    book_payout(source="payout", amount_tiyn=450_000, **WHO)
    late = replace(refund_of(MERCHANT_PAYABLE, 1, "late"), demand="another")
    with pytest.raises(InsufficientFundsError, match="left"):
        approve_refund(late, effective_at=NOW)


@pytest.mark.parametrize(
    "refund",
    [
        refund_of(MERCHANT_PAYABLE, 0),
        refund_of(MERCHANT_PAYABLE, -5),
        refund_of(BANK_SETTLEMENT, 5),
        refund_of(UNIDENTIFIED, 5),
        replace(refund_of(OVERPAYMENTS, 5), asset=ETH.caip19, quantity=1),
        replace(refund_of(UNIDENTIFIED, 0), quantity=1),
    ],
)
def test_a_refund_that_makes_no_sense_is_refused(refund: Refund) -> None:
    with pytest.raises(ValueError, match="refund"):
        approve_refund(refund, effective_at=NOW)


def test_coins_without_a_price_go_back_as_they_came() -> None:
    Demand(rates=Demand().rates.__class__({"BTC": Decimal(45_000_000)})).receive("ETH", 500)
    refund = replace(refund_of(UNIDENTIFIED, 0), asset=ETH.caip19, quantity=400)
    with pytest.raises(InsufficientFundsError):
        approve_refund(replace(refund, quantity=501), effective_at=NOW)
    approve_refund(refund, effective_at=NOW)
    with pytest.raises(InsufficientFundsError):
        approve_refund(replace(refund, source="more", quantity=101), effective_at=NOW)
    with pytest.raises(SourceConflictError, match="other coins"):
        book_refund_sent(source="refund", coins=SENT, **WHO)
    sent = Coins(paid_from=COINS_HELD, asset=ETH.caip19, quantity=400)
    assert book_refund_sent(source="refund", coins=sent, **WHO)


@pytest.mark.parametrize(
    "coins",
    [
        replace(SENT, quantity=0),
        replace(SENT, fee_quantity=-1),
        replace(SENT, paid_from=GAS_RESERVE),
    ],
)
def test_coins_that_make_no_sense_are_refused(coins: Coins) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 -- each says another word
        book_refund_sent(source="refund", coins=coins, **WHO)


@pytest.mark.case("R123")
@given(st.integers(0, 10**15), st.lists(st.integers(0, 10**6), min_size=1, max_size=6))
def test_parts_sum_to_the_whole_and_each_is_within_a_tiyn(amount: int, weights: list[int]) -> None:
    if not any(weights):
        with pytest.raises(ValueError, match="weights"):
            split(amount_tiyn=amount, weights=weights)
        return
    parts = split(amount_tiyn=amount, weights=weights)
    assert sum(parts) == amount
    for part, weight in zip(parts, weights, strict=True):
        assert abs(part * sum(weights) - amount * weight) < sum(weights)
        assert weight or not part


@pytest.mark.case("R123")
def test_what_is_left_goes_to_the_parts_that_lost_most() -> None:
    assert split(amount_tiyn=10, weights=[1, 1, 1]) == [4, 3, 3]
    assert split(amount_tiyn=100, weights=[333, 333, 334]) == [33, 33, 34]
    assert split(amount_tiyn=1, weights=[9_875, 125]) == [1, 0]


@pytest.mark.case("R121")
def test_a_fee_follows_what_is_payable() -> None:
    def charge(payable_tiyn: int, fee_basis_points: int = 125) -> int:
        return charge_fee(
            demand="demand",
            payable_tiyn=payable_tiyn,
            fee_basis_points=fee_basis_points,
            **WHO,
        )

    Demand(99_999).receive("BTC", 10_000)
    assert charge(99_999) == charge(99_999) == 1_250
    assert balance_of(OPERATOR_FEE) == -1_250
    assert balance_of(MERCHANT_PAYABLE, beneficiary="aigul") == -98_749
    assert charge(0) == balance_of(OPERATOR_FEE) == 0
    assert charge(99_999, 0) == 0
    for wrong in (-1, 10_001):
        with pytest.raises(ValueError, match="basis"):
            charge(1, wrong)
    with pytest.raises(TypeError):
        charge(Decimal(1))  # type: ignore[arg-type]


@pytest.mark.case("R127")
def test_lots_leave_first_in_first_out_and_lose_no_tiyn() -> None:
    demand = Demand(10_000_000)
    # Three lots that cost 0.4275, 45 and 45 tiyn a unit.
    for source, symbol, quantity in (("a", "BTC", 100), ("b", "BTC", 7), ("c", "BTC", 13)):
        demand.receive(symbol, quantity, source=source)
        book_sweep(source=f"tx {source}", asset=BTC.caip19, quantity=quantity, effective_at=NOW)
    costs = [4_500, 315, 585]
    assert list(Lot.objects.order_by("pk").values_list("cost_tiyn", flat=True)) == costs
    for number, quantity in enumerate((33, 33, 33, 3, 11, 7)):
        fill = Fill(source=str(number), asset=BTC.caip19, quantity=quantity, proceeds_tiyn=0)
        book_fill(fill, effective_at=NOW)
    uses = list(LotUse.objects.order_by("pk").values_list("cost_tiyn", flat=True))
    assert uses == [1_485, 1_485, 1_485, 45 + 90, 225 + 270, 315]
    assert sum(uses) == sum(costs)
    assert balance_of(COINS_IN_TREASURY) == 0
    with pytest.raises(InsufficientFundsError, match="holds 0 of 1"):
        book_fill(replace(fill, source="more", quantity=1), effective_at=NOW)


@pytest.mark.case("R127")
def test_coins_that_were_bought_are_sold_at_what_they_cost() -> None:
    Demand().receive("BTC", 10_000)
    book_sweep(source="tx", asset=BTC.caip19, quantity=10_000, effective_at=NOW)
    bought = Fill(
        source="one",
        asset=BTC.caip19,
        quantity=10_000,
        proceeds_tiyn=460_000,
        fee_tiyn=60,
        bought_asset=USDT.caip19,
        bought_quantity=9_600_000,
    )
    assert book_fill(bought, effective_at=NOW)
    assert not book_fill(bought, effective_at=NOW)
    assert balance_of(EXCHANGE_RESULT) == -10_000
    sold = Fill(source="two", asset=USDT.caip19, quantity=9_600_000, proceeds_tiyn=459_000)
    book_fill(sold, effective_at=NOW)
    assert balance_of(EXCHANGE_RESULT) == -10_000 + 940
    assert balance_of(TENGE_AT_EXCHANGE) == 459_000
    assert balance_of(COINS_IN_TREASURY) == 0


@pytest.mark.parametrize(
    "wrong",
    [
        {"quantity": 0},
        {"fee_tiyn": -1},
        {"fee_tiyn": 2},
        {"bought_asset": USDT.caip19},
        {"bought_quantity": 1},
        {"bought_asset": BTC.caip19, "bought_quantity": 1},
    ],
)
def test_a_fill_that_makes_no_sense_is_refused(wrong: dict[str, int]) -> None:
    fill = Fill(source="x", asset=BTC.caip19, quantity=1, proceeds_tiyn=1)
    with pytest.raises(ValueError):  # noqa: PT011 -- each says another word
        book_fill(replace(fill, **wrong), effective_at=NOW)


def test_a_sweep_that_failed_gives_its_coins_back() -> None:
    Demand().receive("BTC", 10_000)
    send_sweep(source="tx", asset=BTC.caip19, quantity=10_000, effective_at=NOW)
    assert balance_of(COINS_IN_TRANSIT) == 450_000
    assert cancel_sweep(source="tx", asset=BTC.caip19, effective_at=NOW)
    assert not cancel_sweep(source="tx", asset=BTC.caip19, effective_at=NOW)
    assert not cancel_sweep(source="unknown", asset=BTC.caip19, effective_at=NOW)
    assert balance_of(COINS_HELD) == 450_000
    assert balance_of(COINS_IN_TRANSIT) == 0


@pytest.mark.case("R128")
def test_a_debt_is_paid_off_before_anything_is_owed_again() -> None:
    demand, more = Demand(), Demand(name="more", amount_tiyn=90_000)
    demand.receive("BTC", 10_000)
    book_payout(source="payout", amount_tiyn=400_000, **WHO)
    demand.take_back("tx/out:0")
    assert balance_of(MERCHANT_RECEIVABLE, beneficiary="aigul") == 400_000
    assert demand.owed(MERCHANT_PAYABLE) == 0
    more.receive("BTC", 2_000, source="more")
    assert balance_of(MERCHANT_RECEIVABLE, beneficiary="aigul") == 310_000
    with pytest.raises(InsufficientFundsError):
        book_payout(source="next", amount_tiyn=1, **WHO)
    return_payout(source="payout", reason="closed", **WHO)
    assert balance_of(MERCHANT_RECEIVABLE, beneficiary="aigul") == 0
    assert demand.owed(MERCHANT_PAYABLE) == 90_000


@pytest.mark.case("R128")
def test_a_refunded_overpayment_that_the_chain_takes_back_is_seen() -> None:
    demand = Demand()
    demand.receive("BTC", 10_000, source="first")
    demand.receive("BTC", 1_000, source="second")
    approve_refund(refund_of(OVERPAYMENTS, 45_000), effective_at=NOW)
    demand.take_back("second")
    assert demand.owed(OVERPAYMENTS) == -45_000
    assert demand.owed(MERCHANT_PAYABLE) == 450_000


def by_hand(kind: str, lines: list[Line]) -> None:
    with transaction.atomic():
        entry = Entry(kind=kind, source=kind, subject="x", lines=lines, effective_at=NOW)
        post_entries([entry])


@pytest.mark.case("R124")
@pytest.mark.parametrize(
    ("debit", "credit"),
    [
        (MERCHANT_PAYABLE, PAYOUTS_IN_TRANSIT),
        (REFUNDS_PAYABLE, MERCHANT_PAYABLE),
        (PAYOUTS_IN_TRANSIT, BANK_SETTLEMENT),
        (MERCHANT_PAYABLE, MERCHANT_RECEIVABLE),
        (OVERPAYMENTS, REFUNDS_PAYABLE),
    ],
)
def test_the_database_refuses_an_overdraft(debit: object, credit: object) -> None:
    Demand().receive("BTC", 10_000)
    lines = moved(
        debit=debit,  # type: ignore[arg-type]
        credit=credit,  # type: ignore[arg-type]
        amount_tiyn=450_001,
        beneficiary="aigul",
    )
    with pytest.raises(IntegrityError, match="overdrawn"):
        by_hand("payout", lines)


def test_quantities_that_do_not_balance_are_refused() -> None:
    coins = Line(account=COINS_HELD, amount_tiyn=0, asset=BTC.caip19, quantity=1)
    other = Line(account=COINS_IN_TREASURY, amount_tiyn=0, asset=USDT.caip19, quantity=-1)
    with pytest.raises(UnbalancedEntryError, match="quantities"):
        by_hand("test", [coins, other])
