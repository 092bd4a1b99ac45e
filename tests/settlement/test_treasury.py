"""Sweeps in the ledger: each once, all of the cost with all of the coins, no tiyn lost between."""

import threading
from decimal import Decimal

import pytest
from django.db import connection, transaction
from hypothesis import given, settings
from hypothesis import strategies as st

from settlement.accounts import COINS_HELD, COINS_IN_TREASURY, GAS_RESERVE, NETWORK_GAS
from settlement.ledger import Entry, Line, SourceConflictError, balance_of, post_entries
from settlement.models import JournalEntry, Posting
from settlement.rates.sources import Price
from settlement.treasury import book_sweep, book_sweep_gas
from tests.settlement.demand import ETH, NOW, USDT

PRICE = Price(tenge=Decimal("1512345.67"), source="fixed", observed_at=NOW)


def hold(quantity: int, cost_tiyn: int, source: str = "receipt") -> None:
    lines = [
        Line(account=COINS_HELD, amount_tiyn=cost_tiyn, asset=USDT.caip19, quantity=quantity),
        Line(account=NETWORK_GAS, amount_tiyn=-cost_tiyn, asset=USDT.caip19, quantity=-quantity),
    ]
    entry = Entry(kind="test", source=source, subject=source, lines=lines, effective_at=NOW)
    post_entries([entry])


def sweep(quantity: int, source: str = "tx/moved") -> bool:
    with transaction.atomic():
        return book_sweep(source=source, asset=USDT.caip19, quantity=quantity, effective_at=NOW)


def gas(quantity: int, source: str = "tx") -> bool:
    with transaction.atomic():
        return book_sweep_gas(
            source=source,
            asset=ETH.caip19,
            decimals=18,
            quantity=quantity,
            price=PRICE,
            effective_at=NOW,
        )


def held() -> tuple[int, int]:
    postings = Posting.objects.filter(account__code=COINS_HELD.code)
    return sum(int(one.quantity) for one in postings), balance_of(COINS_HELD)


@pytest.mark.django_db
@pytest.mark.usefixtures("app_role")
def test_a_sweep_is_booked_once_and_not_with_other_figures() -> None:
    hold(1_000, 475)
    assert sweep(400)
    assert not sweep(400)
    with pytest.raises(SourceConflictError):
        sweep(401)
    assert held() == (600, 285)
    assert balance_of(COINS_IN_TREASURY) == 190


@pytest.mark.django_db
@pytest.mark.usefixtures("app_role")
def test_gas_is_an_expense_rounded_up_and_says_its_rate() -> None:
    assert gas(10**14)
    assert not gas(10**14)
    with pytest.raises(SourceConflictError):
        gas(10**14 + 1)
    assert balance_of(NETWORK_GAS) == 15_124  # 151.234567 tenge
    assert balance_of(GAS_RESERVE) == -15_124
    entry = JournalEntry.objects.get(kind="sweep_gas")
    assert "1512345.67" in entry.memo
    assert "fixed" in entry.memo
    gas(1, source="a wei")
    assert balance_of(NETWORK_GAS) == 15_125


@pytest.mark.django_db
@pytest.mark.parametrize("quantity", [0, -1])
def test_nothing_is_no_sweep(quantity: int) -> None:
    for book in (sweep, gas):
        with pytest.raises(ValueError, match="positive"):
            book(quantity)


@pytest.mark.case("R121")
@pytest.mark.django_db
def test_only_whole_units_are_booked() -> None:
    for book in (sweep, gas):
        with pytest.raises(TypeError):
            book(Decimal(1))  # type: ignore[arg-type]


@pytest.mark.django_db
def test_coins_that_are_booked_after_they_were_swept_bring_their_cost_along() -> None:
    hold(100, 50)
    sweep(300)  # 200 of these are not in the ledger yet
    assert held() == (-200, 0)
    hold(200, 120, source="late")
    assert held() == (0, 120)
    hold(50, 25, source="next")
    sweep(50, source="tx2/moved")
    assert held() == (0, 0)
    assert balance_of(COINS_IN_TREASURY) == 195


@pytest.mark.django_db
@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.tuples(st.booleans(), st.integers(1, 10**30), st.integers(0, 10**12)), max_size=12)
)
def test_no_tiyn_and_no_unit_is_lost_on_the_way(steps: list[tuple[bool, int, int]]) -> None:
    with transaction.atomic():
        units = tiyn = moved = 0
        for number, (comes, quantity, cost) in enumerate(steps):
            if comes:
                hold(quantity, cost, source=str(number))
                units, tiyn = units + quantity, tiyn + cost
            else:
                sweep(quantity, source=str(number))
                moved += quantity
        assert held() == (units - moved, tiyn - balance_of(COINS_IN_TREASURY))
        assert balance_of(COINS_HELD) >= 0
        if units > moved:
            sweep(units - moved, source="rest")
            assert held() == (0, 0)
            assert balance_of(COINS_IN_TREASURY) == tiyn
        transaction.set_rollback(True)


def test_two_that_book_one_sweep_at_once_book_it_once(committed: None) -> None:
    with transaction.atomic():
        hold(1_000, 475)
    booked: list[bool] = []

    def book() -> None:
        booked.append(sweep(1_000))
        connection.close()

    threads = [threading.Thread(target=book) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(booked) == [False] * 5 + [True]
    assert held() == (0, 0)
