"""Reorganisations, lost nonces, higher fees and forgetful nodes: a sweep ends once."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import pytest

from alatau_pay.devnet.contracts import artefact
from chains.models import Sweep, SweepAttempt, SweepItem
from chains.sweeping.ends import unbooked_ends
from tests.chains.evm.proxy import provider
from tests.chains.sweeping.conftest import Sweeping

pytestmark = pytest.mark.django_db

PATIENCE = timedelta(minutes=6)


@pytest.fixture
def sent(sweeping: Sweeping) -> Iterator[Sweeping]:
    """One sweep that was sent and is not mined."""
    sweeping.pay("USDT", 40_000_000)
    sweeping.settle()
    sweeping.devnet.evm.rpc("evm_setAutomine", False)
    try:
        assert [one.why for one in sweeping.send(sweeping.plan())] == [""]
        yield sweeping
    finally:
        sweeping.devnet.evm.rpc("evm_setAutomine", True)
        sweeping.devnet.evm.rpc("anvil_dropAllTransactions")


def state() -> str:
    return str(Sweep.objects.get().state)


def attempts() -> list[SweepAttempt]:
    return list(SweepAttempt.objects.order_by("pk"))


def is_known(sweeping: Sweeping, txid: str) -> bool:
    return sweeping.devnet.evm.rpc("eth_getTransactionByHash", f"0x{txid}") is not None


@contextmanager
def without_automine(sweeping: Sweeping) -> Iterator[None]:
    sweeping.devnet.evm.rpc("evm_setAutomine", False)
    try:
        yield
    finally:
        sweeping.devnet.evm.rpc("evm_setAutomine", True)


def check_ended_once(sweeping: Sweeping) -> None:
    assert state() == "done"
    assert sweeping.in_treasury("USDT") == 40_000_000
    assert not SweepItem.objects.filter(live=True).exists()
    (end,) = unbooked_ends(network=sweeping.network.caip2)
    assert end.moved == 40_000_000
    assert end.fee_wei == 10**18 - sweeping.balance("ETH", sweeping.payer.address)


def test_a_waiting_sweep_is_left_alone_and_then_ends(sent: Sweeping) -> None:
    assert (sent.follow().waiting, state()) == (1, "sent")
    sent.devnet.evm.mine(1)
    assert (sent.follow().mined, state()) == (1, "mined")
    assert sent.follow().mined == 0
    sent.devnet.evm.mine(2)
    assert sent.follow().ended == 1
    check_ended_once(sent)
    assert sent.follow().ended == 0


@pytest.mark.case("R63")
def test_a_sweep_that_the_network_forgot_is_sent_again_without_the_key(sent: Sweeping) -> None:
    (attempt,) = attempts()
    sent.devnet.evm.rpc("anvil_dropTransaction", f"0x{attempt.txid}")
    assert not is_known(sent, attempt.txid)
    assert sent.follow(with_key=False).sent_again == 1
    assert is_known(sent, attempt.txid)
    sent.devnet.evm.mine(4)
    sent.follow(with_key=False)
    check_ended_once(sent)
    assert attempts() == [attempt]


@pytest.mark.case("R63")
def test_a_sweep_that_waits_too_long_gets_a_higher_fee_and_is_mined_once(sent: Sweeping) -> None:
    sent.let_pass(PATIENCE)
    assert sent.follow(with_key=False).waiting == 1
    assert sent.follow().replaced == 1
    first, second = attempts()
    assert second.fee_wei_per_gas * 8 >= first.fee_wei_per_gas * 9
    assert second.tip_wei_per_gas * 8 >= first.tip_wei_per_gas * 9
    assert sent.follow().waiting == 1
    sent.devnet.evm.mine(4)
    sent.follow()
    check_ended_once(sent)
    assert Sweep.objects.get().txid == second.txid


@pytest.mark.case("R63")
def test_the_earlier_attempt_may_be_mined_after_all(sent: Sweeping) -> None:
    sent.let_pass(PATIENCE)
    sent.follow()
    first, second = attempts()
    sent.devnet.evm.rpc("anvil_dropTransaction", f"0x{second.txid}")
    sent.devnet.evm.rpc("eth_sendRawTransaction", f"0x{bytes(first.raw).hex()}")
    sent.devnet.evm.mine(4)
    sent.follow()
    check_ended_once(sent)
    assert Sweep.objects.get().txid == first.txid


def test_no_fee_is_raised_beyond_the_limit(sent: Sweeping) -> None:
    (first,) = attempts()
    Sweep.objects.update(fee_wei_per_gas_max=first.fee_wei_per_gas * 9 // 8)
    sent.let_pass(PATIENCE)
    assert sent.follow().replaced == 0
    assert attempts() == [first]
    Sweep.objects.update(fee_wei_per_gas_max=first.fee_wei_per_gas * 2)
    fees = []
    for _round in range(10):
        sent.let_pass(PATIENCE)
        sent.follow()
        fees.append(attempts()[-1].fee_wei_per_gas)
    assert first.fee_wei_per_gas < max(fees) <= first.fee_wei_per_gas * 2
    assert len(attempts()) < 10


@pytest.mark.case("R3")
@pytest.mark.case("R1")
@pytest.mark.parametrize("depth", [1, 2, 5])
def test_a_sweep_that_the_chain_took_back_is_sent_again(depth: int, sweeping: Sweeping) -> None:
    # As deep as the test reorganises, nothing may be final yet.
    sweeping.change_network(final_confirmations=8)
    sweeping.pay("USDT", 40_000_000)
    sweeping.devnet.evm.mine(8)
    sweeping.scan()
    plan = sweeping.plan()
    evm = sweeping.devnet.evm
    snapshot = evm.rpc("evm_snapshot")
    sweeping.send(plan)
    evm.mine(depth)
    assert sweeping.follow().mined == 1
    before = Sweep.objects.get()
    assert (before.state, bool(before.block_hash)) == ("mined", True)

    evm.rpc("evm_revert", snapshot)
    latest = evm.web3().eth.get_block("latest")
    evm.rpc("anvil_setNextBlockTimestamp", hex(latest["timestamp"] + 13))
    evm.mine(depth + 1)
    with without_automine(sweeping):
        report = sweeping.follow()
        assert (report.taken_back, report.sent_again) == (1, 1)
        taken = Sweep.objects.get()
        assert (taken.state, taken.txid, taken.fee_wei) == ("sent", "", None)
        assert SweepItem.objects.filter(live=True).count() == 1
        evm.mine(1)
    assert sweeping.follow().mined == 1
    after = Sweep.objects.get()
    assert (after.txid, after.block_hash == before.block_hash) == (before.txid, False)
    evm.mine(8)
    sweeping.follow()
    check_ended_once(sweeping)
    assert len(attempts()) == 1


@pytest.mark.case("R63")
def test_a_nonce_that_was_used_elsewhere_frees_the_coins_for_another_sweep(sent: Sweeping) -> None:
    sweep = Sweep.objects.get()
    other = sent.payer.sign(
        {
            "type": 2,
            "chainId": 31337,
            "nonce": sweep.nonce,
            "to": sent.payer.address,
            "value": 0,
            "gas": 21_000,
            "maxFeePerGas": 90 * 10**9,
            "maxPriorityFeePerGas": 40 * 10**9,
        }
    )
    sent.devnet.evm.rpc("eth_sendRawTransaction", f"0x{other.raw.hex()}")
    sent.devnet.evm.mine(1)
    # It is not final yet: the chain may still take it back.
    sent.follow()
    assert state() == "sent"
    sent.devnet.evm.mine(3)
    assert sent.follow().ended == 1
    assert state() == "lost"
    assert unbooked_ends(network=sent.network.caip2) == []

    sent.devnet.evm.rpc("evm_setAutomine", True)
    sent.scan()
    (again,) = sent.send(sent.plan())
    assert again.why == ""
    sent.settle()
    sent.follow()
    assert sent.in_treasury("USDT") == 40_000_000
    assert sorted(Sweep.objects.values_list("state", flat=True)) == ["done", "lost"]


def test_a_lost_nonce_frees_the_address_also_where_a_stranger_swept_it(sent: Sweeping) -> None:
    """Otherwise the address would stay in a sweep that never ends, and so would what comes next."""
    evm, sweep = sent.devnet.evm, Sweep.objects.get()
    (item,) = sweep.items.select_related("address")
    evm.rpc("anvil_dropAllTransactions")
    other = sent.payer.sign(
        {
            "type": 2,
            "chainId": 31337,
            "nonce": sweep.nonce,
            "to": sent.payer.address,
            "value": 0,
            "gas": 21_000,
            "maxFeePerGas": 90 * 10**9,
            "maxPriorityFeePerGas": 40 * 10**9,
        }
    )
    evm.rpc("eth_sendRawTransaction", f"0x{other.raw.hex()}")
    evm.mine(1)
    evm.rpc("evm_setAutomine", True)
    factory = evm.web3().eth.contract(sweep.factory, abi=artefact("ForwarderFactory").abi)
    call = factory.functions.sweep(sweep.treasury, evm.usdt, [bytes(item.address.salt)])
    call.transact({"from": evm.resident})
    evm.mine(4)
    sent.follow()
    assert state() == "sent"  # the scans have not seen who took the coins
    sent.scan()
    sent.follow()
    assert state() == "lost"

    sent.pay("USDT", 50_000_000)
    sent.settle()
    (planned,) = sent.plan().sweeps
    assert planned.addresses == (item.address.text,)
    assert planned.total == 50_000_000


def test_a_node_that_forgot_a_receipt_is_not_believed(sent: Sweeping) -> None:
    sent.devnet.evm.mine(4)
    forgotten = {"eth_getTransactionReceipt", "eth_getTransactionByHash"}

    def forget(question: dict[str, Any], said: dict[str, Any]) -> dict[str, Any]:
        return {**said, "result": None} if question["method"] in forgotten else said

    honest = sent.network.endpoints
    with provider(sent.devnet.evm.url, forget) as forgetful:
        sent.change_network(endpoints=[forgetful.url])
        sent.follow()
        assert state() == "sent"
        sent.let_pass(PATIENCE)
        sent.follow()
        assert state() == "sent"
    sent.change_network(endpoints=list(honest))
    sent.follow()
    check_ended_once(sent)


def test_a_coin_payment_in_the_sweeps_own_block_is_counted_where_it_belongs(
    sweeping: Sweeping,
) -> None:
    sweeping.pay("ETH", 10**17)
    sweeping.settle()
    evm = sweeping.devnet.evm
    with without_automine(sweeping):
        sweeping.send(sweeping.plan())
        sweeping.pay("ETH", 3 * 10**16)
        evm.mine(1)
    sweeping.settle()
    sweeping.follow()
    swept = sweeping.in_treasury("ETH")
    assert swept in {10**17, 10**17 + 3 * 10**16}
    (end,) = unbooked_ends(network=sweeping.network.caip2)
    assert end.moved == swept
    left = 13 * 10**16 - swept
    assert [one.total for one in sweeping.plan().sweeps] == ([left] if left else [])
