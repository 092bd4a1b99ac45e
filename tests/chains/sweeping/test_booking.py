"""Sweeps and the ledger together: each sweep's gas is a cost once, and its coins move once."""

import threading
from decimal import Decimal

import pytest
from django.db import connection
from django.db.models import Sum
from pytest_django.fixtures import Settings

from alatau_pay.pipeline import follow_sweeps
from alatau_pay.sweeps import book_ends
from chains.models import Sweep
from settlement.accounts import COINS_HELD, COINS_IN_TREASURY, GAS_RESERVE, NETWORK_GAS
from settlement.ledger import balance_of, trial_balance
from settlement.models import JournalEntry, Posting
from tests.chains.sweeping.conftest import Sweeping


def end_sweeps(sweeping: Sweeping) -> None:
    sweeping.send(sweeping.plan())
    sweeping.settle()
    sweeping.follow()


def quantity_of(code: str, asset: str) -> int:
    rows = Posting.objects.filter(account__code=code, asset=asset)
    return int(rows.aggregate(total=Sum("quantity"))["total"] or 0)


@pytest.mark.django_db
def test_the_gas_of_every_sweep_is_a_cost_once(sweeping: Sweeping) -> None:
    sweeping.pay("USDT", 30_000_000)
    sweeping.pay("ETH", 10**17, "two")
    sweeping.settle()
    sweeping.send(sweeping.plan())
    assert book_ends(network=sweeping.network) == 0
    sweeping.settle()
    # As beat would, several times.
    for _ in range(3):
        follow_sweeps(sweeping.network.caip2)

    ether, usdt = sweeping.asset("ETH").caip19, sweeping.asset("USDT").caip19
    spent = 10**18 - sweeping.balance("ETH", sweeping.payer.address)
    assert quantity_of(GAS_RESERVE.code, ether) == -spent
    cost = Decimal(spent) * 150_000_000 / 10**18
    assert 0 < balance_of(NETWORK_GAS) - cost < 2
    assert quantity_of(COINS_IN_TREASURY.code, usdt) == 30_000_000
    assert quantity_of(COINS_IN_TREASURY.code, ether) == 10**17
    assert quantity_of(COINS_HELD.code, ether) == -(10**17)  # no receipt was booked in this test
    assert JournalEntry.objects.count() == 4
    assert trial_balance().difference_tiyn == 0
    sources = set(JournalEntry.objects.filter(kind="sweep_gas").values_list("source", flat=True))
    assert sources == {f"{one.network}/{one.txid}" for one in Sweep.objects.all()}


@pytest.mark.django_db
def test_without_a_rate_the_gas_is_booked_later(sweeping: Sweeping, settings: Settings) -> None:
    sweeping.pay("USDT", 30_000_000)
    sweeping.settle()
    end_sweeps(sweeping)
    rates, settings.FIXED_RATES = settings.FIXED_RATES, {}
    assert book_ends(network=sweeping.network) == 0
    settings.FIXED_RATES = rates
    assert book_ends(network=sweeping.network) == 1


@pytest.mark.django_db
def test_a_network_that_takes_nothing_for_gas_keeps_no_other_sweep_waiting(
    sweeping: Sweeping,
) -> None:
    sweeping.pay("USDT", 30_000_000)
    sweeping.settle()
    end_sweeps(sweeping)
    first = Sweep.objects.get()
    Sweep.objects.update(fee_wei=0)
    sweeping.pay("USDT", 40_000_000, "two")
    sweeping.settle()
    end_sweeps(sweeping)
    assert book_ends(network=sweeping.network) == 2
    assert quantity_of(COINS_IN_TREASURY.code, sweeping.asset("USDT").caip19) == 70_000_000
    (gas,) = JournalEntry.objects.filter(kind="sweep_gas")
    assert first.txid not in gas.source


def test_two_workers_book_one_sweep_once(committed: None, sweeping: Sweeping) -> None:
    sweeping.pay("USDT", 30_000_000)
    sweeping.settle()
    end_sweeps(sweeping)
    booked: list[int] = []

    def book() -> None:
        booked.append(book_ends(network=sweeping.network))
        connection.close()

    threads = [threading.Thread(target=book) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(booked) == [0, 0, 0, 1]
    assert sorted(JournalEntry.objects.values_list("kind", flat=True)) == ["sweep", "sweep_gas"]
