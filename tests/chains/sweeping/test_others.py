"""Anybody may sweep a forwarder: the coins reach the treasury, and the ledger hears of it once."""

import threading

import pytest
from django.db import connection
from django.db.models import Sum

from alatau_pay.devnet.contracts import artefact
from alatau_pay.pipeline import follow_all_sweeps, follow_sweeps
from alatau_pay.sweeps import book_others
from chains.models import Address, Outflow
from settlement.accounts import COINS_HELD, COINS_IN_TREASURY
from settlement.ledger import trial_balance
from settlement.models import JournalEntry, Posting
from tests.chains.sweeping.conftest import Sweeping

NO_TOKEN = "0x" + "00" * 20


def sweep_as_a_stranger(sweeping: Sweeping, symbol: str, *references: str) -> None:
    """The factory called from an account that is not the gas payer's."""
    evm = sweeping.devnet.evm
    factory = evm.web3().eth.contract(
        sweeping.network.factory, abi=artefact("ForwarderFactory").abi
    )
    salts = [bytes(Address.objects.get(reference=one).salt) for one in references]
    token = sweeping.asset(symbol).contract or NO_TOKEN
    call = factory.functions.sweep(sweeping.network.treasury, token, salts)
    call.transact({"from": evm.resident})


def work(sweeping: Sweeping) -> None:
    """As beat would, several times."""
    for _ in range(3):
        follow_sweeps(sweeping.network.caip2)


def quantity_of(code: str, sweeping: Sweeping, symbol: str) -> int:
    rows = Posting.objects.filter(account__code=code, asset=sweeping.asset(symbol).caip19)
    return int(rows.aggregate(total=Sum("quantity"))["total"] or 0)


def kinds() -> list[str]:
    return sorted(JournalEntry.objects.values_list("kind", flat=True))


@pytest.mark.django_db
def test_what_strangers_sweep_is_booked_once_it_is_final_and_without_gas(
    sweeping: Sweeping,
) -> None:
    sweeping.pay("USDT", 30_000_000)
    sweeping.pay("USDT", 20_000_000, "two")
    sweeping.pay("ETH", 10**17)
    sweeping.settle()
    sweep_as_a_stranger(sweeping, "USDT", "one", "two")
    sweep_as_a_stranger(sweeping, "ETH", "one")
    sweeping.scan()
    assert Outflow.objects.count() == 3
    work(sweeping)
    assert kinds() == []  # not final yet
    sweeping.settle()
    work(sweeping)
    assert kinds() == ["sweep"] * 3
    for symbol in ("USDT", "ETH"):
        moved = sweeping.in_treasury(symbol)
        assert quantity_of(COINS_IN_TREASURY.code, sweeping, symbol) == moved > 0
        assert quantity_of(COINS_HELD.code, sweeping, symbol) == -moved
    assert trial_balance().difference_tiyn == 0
    plan = sweeping.plan()
    assert (plan.sweeps, plan.findings) == ((), ())


@pytest.mark.django_db
def test_our_own_sweep_is_not_booked_again_as_a_strangers(sweeping: Sweeping) -> None:
    sweeping.pay("USDT", 30_000_000)
    sweeping.pay("USDT", 40_000_000, "two")
    sweeping.settle()
    sweeping.send(sweeping.plan())
    sweeping.settle()
    assert Outflow.objects.count() == 2
    # Its outflows are known before its end is: the ledger waits for that.
    assert book_others(network=sweeping.network, nodes=sweeping.nodes) == 0
    sweeping.pay("USDT", 50_000_000)
    sweep_as_a_stranger(sweeping, "USDT", "one")
    sweeping.settle()
    work(sweeping)
    assert kinds() == ["sweep", "sweep", "sweep_gas"]
    assert quantity_of(COINS_IN_TREASURY.code, sweeping, "USDT") == 120_000_000
    assert sweeping.in_treasury("USDT") == 120_000_000
    assert not Outflow.objects.filter(booked=False).exists()


@pytest.mark.django_db
def test_a_strangers_sweep_that_the_chain_took_back_counts_where_it_came_again(
    sweeping: Sweeping,
) -> None:
    evm = sweeping.devnet.evm
    sweeping.pay("USDT", 30_000_000)
    sweeping.settle()
    snapshot = evm.rpc("evm_snapshot")
    sweep_as_a_stranger(sweeping, "USDT", "one")
    sweeping.scan()
    work(sweeping)
    later = evm.web3().eth.get_block("latest")["timestamp"] + 60
    evm.rpc("evm_revert", snapshot)
    evm.rpc("anvil_setNextBlockTimestamp", hex(later))
    sweeping.pay("USDT", 5_000_000)
    sweep_as_a_stranger(sweeping, "USDT", "one")
    sweeping.settle()
    work(sweeping)
    assert Outflow.objects.count() == 2
    assert quantity_of(COINS_IN_TREASURY.code, sweeping, "USDT") == 35_000_000
    assert kinds() == ["sweep"]


@pytest.mark.django_db
def test_they_are_booked_where_we_never_sweep(
    sweeping: Sweeping, monkeypatch: pytest.MonkeyPatch
) -> None:
    sweeping.pay("USDT", 30_000_000)
    sweeping.settle()
    sweep_as_a_stranger(sweeping, "USDT", "one")
    sweeping.settle()
    sweeping.change_network(sweeping=None)
    monkeypatch.setattr(follow_sweeps, "delay", follow_sweeps)
    follow_all_sweeps()
    assert quantity_of(COINS_IN_TREASURY.code, sweeping, "USDT") == 30_000_000


def test_two_workers_book_one_strangers_sweep_once(committed: None, sweeping: Sweeping) -> None:
    sweeping.pay("USDT", 30_000_000)
    sweeping.settle()
    sweep_as_a_stranger(sweeping, "USDT", "one")
    sweeping.settle()
    booked: list[int] = []

    def book() -> None:
        booked.append(book_others(network=sweeping.network, nodes=sweeping.nodes))
        connection.close()

    threads = [threading.Thread(target=book) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(booked) == [0, 0, 0, 1]
    assert kinds() == ["sweep"]
