"""From final payments to coins in the treasury, on a real node."""

from datetime import timedelta
from itertools import pairwise

import pytest
from django.db.models.functions import Now

from chains.models import Block, Sweep, SweepAttempt, SweepItem
from chains.sweeping.ends import mark_booked, payer_health, unbooked_ends
from chains.sweeping.holdings import FindingKind
from chains.sweeping.planning import SweepRefusedError
from chains.sweeping.sending import SendOutcome
from tests.chains.sweeping.conftest import Sweeping

pytestmark = pytest.mark.django_db


def test_final_coins_go_to_the_treasury_once(sweeping: Sweeping) -> None:
    for number, symbol in enumerate(("USDT", "USDC", "USDT")):
        sweeping.pay(symbol, 50_000_000 + number, f"n{number}")
    sweeping.pay("ETH", 10**17, "n3")
    sweeping.settle()

    plan = sweeping.plan()
    assert [(one.total, len(one.addresses)) for one in plan.sweeps] == [
        (100_000_002, 2),
        (50_000_001, 1),
        (10**17, 1),
    ]
    assert plan.findings == ()
    assert all(one.outcome is SendOutcome.SENT for one in sweeping.send(plan))
    assert sweeping.follow().mined == 3
    sweeping.settle()
    sweeping.follow()
    assert [sweep.state for sweep in Sweep.objects.all()] == ["done"] * 3

    assert sweeping.in_treasury("USDT") == 100_000_002
    assert sweeping.in_treasury("USDC") == 50_000_001
    assert sweeping.in_treasury("ETH") == 10**17
    ends = unbooked_ends(network=sweeping.network.caip2)
    assert [one.moved for one in ends] == [100_000_002, 50_000_001, 10**17]
    spent = 10**18 - sweeping.balance("ETH", sweeping.payer.address)
    assert sum(one.fee_wei for one in ends) == spent > 0
    assert sweeping.plan().sweeps == ()


def test_an_address_is_swept_again_after_it_is_paid_again(sweeping: Sweeping) -> None:
    for value in (30_000_000, 40_000_000):
        sweeping.pay("USDT", value)
        sweeping.settle()
        plan = sweeping.plan()
        assert [one.total for one in plan.sweeps] == [value]
        assert plan.findings == ()
        sweeping.send(plan)
        sweeping.settle()
        sweeping.follow()
    assert sweeping.in_treasury("USDT") == 70_000_000
    fresh, used = (sweep.gas_used or 0 for sweep in Sweep.objects.order_by("pk"))
    assert used < fresh


def test_only_final_coins_are_worth_a_sweep(sweeping: Sweeping) -> None:
    sweeping.pay("USDT", 30_000_000)
    sweeping.scan()
    assert sweeping.plan().sweeps == ()
    sweeping.settle()
    assert [one.total for one in sweeping.plan().sweeps] == [30_000_000]


def test_what_is_small_waits_until_it_is_old(sweeping: Sweeping) -> None:
    sweeping.change(age_s_max=86_400, cost_bp_max=10_000)
    sweeping.pay("USDT", 999_999)
    sweeping.settle()
    # Blocks of a devnet may be dated ahead: as if this one were mined now.
    Block.objects.update(time=Now())
    assert sweeping.plan().sweeps == ()
    sweeping.let_pass(timedelta(hours=23))
    assert sweeping.plan().sweeps == ()
    sweeping.let_pass(timedelta(hours=2))
    assert len(sweeping.plan().sweeps) == 1
    sweeping.change(age_s_max=0)
    assert sweeping.plan().sweeps == ()


def test_gas_that_costs_more_than_its_share_is_not_spent(sweeping: Sweeping) -> None:
    sweeping.pay("USDT", 20_000_000)
    sweeping.settle()
    sweeping.change(cost_bp_max=1)
    plan = sweeping.plan()
    assert plan.sweeps == ()
    (finding,) = plan.findings
    assert (finding.kind, finding.value) == (FindingKind.TOO_DEAR, 20_000_000)
    sweeping.change(cost_bp_max=1_000, fee_wei_per_gas_max=1)
    assert [one.kind for one in sweeping.plan().findings] == [FindingKind.TOO_DEAR]
    sweeping.change(fee_wei_per_gas_max=50 * 10**9)
    assert len(sweeping.plan().sweeps) == 1


def test_one_small_address_does_not_ride_on_the_others(sweeping: Sweeping) -> None:
    small = sweeping.pay("USDT", 1_000_000, "small")
    for number in range(3):
        sweeping.pay("USDT", 900_000_000, f"n{number}")
    sweeping.settle()
    # A token of 475 tenge against gas of some 80 000 at 2 gwei of 1 500 000 tenge: about half.
    sweeping.change(cost_bp_max=100)
    plan = sweeping.plan()
    assert [len(one.addresses) for one in plan.sweeps] == [3]
    assert [(one.kind, one.addresses) for one in plan.findings] == [
        (FindingKind.TOO_LITTLE, (small,))
    ]


def test_without_a_rate_no_token_is_swept(sweeping: Sweeping) -> None:
    sweeping.pay("USDT", 20_000_000)
    sweeping.pay("ETH", 10**16, "two")
    sweeping.settle()
    sweeping.prices.clear()
    plan = sweeping.plan()
    # The coin is measured against itself.
    assert [one.asset for one in plan.sweeps] == [sweeping.asset("ETH").caip19]
    assert [one.kind for one in plan.findings] == [FindingKind.NO_PRICE]


def test_the_gas_budget_splits_a_batch(sweeping: Sweeping) -> None:
    for number in range(8):
        sweeping.pay("USDT", 50_000_000, f"n{number}")
    sweeping.settle()
    sweeping.change(gas_max=300_000)
    plan = sweeping.plan()
    assert sum(len(one.addresses) for one in plan.sweeps) == 8
    assert len(plan.sweeps) > 1
    assert all(sweep.gas_limit <= 300_000 for sweep in Sweep.objects.all())
    sweeping.send(plan)
    nonces = list(Sweep.objects.order_by("pk").values_list("nonce", flat=True))
    assert all(later == earlier + 1 for earlier, later in pairwise(nonces))
    sweeping.settle()
    sweeping.follow()
    assert sweeping.in_treasury("USDT") == 400_000_000


@pytest.mark.case("R58")
def test_coins_that_no_transfer_explains_are_said(sweeping: Sweeping) -> None:
    to = sweeping.pay("USDT", 20_000_000)
    sweeping.settle()
    sweeping.devnet.evm.rpc("anvil_setBalance", to, hex(10**16))
    sweeping.pay("ETH", 10**16)
    sweeping.settle()
    plan = sweeping.plan()
    (finding,) = plan.findings
    assert (finding.kind, finding.addresses, finding.value) == (
        FindingKind.UNEXPLAINED,
        (to,),
        10**16,
    )
    sweeping.send(plan)
    sweeping.settle()
    sweeping.follow()
    # The forwarder gives all that it has, explained or not: nothing is left behind.
    assert sweeping.in_treasury("ETH") == 2 * 10**16
    assert SweepItem.objects.get(asset=sweeping.asset("ETH").caip19).swept == 2 * 10**16


def test_coins_that_somebody_else_swept_are_missed(sweeping: Sweeping) -> None:
    from tests.chains.sweeping.test_attacks import factory_of, salt_of

    to = sweeping.pay("USDT", 20_000_000)
    sweeping.settle()
    token = sweeping.asset("USDT").contract
    call = factory_of(sweeping).functions.sweep(sweeping.network.treasury, token, [salt_of("one")])
    call.transact({"from": sweeping.devnet.evm.web3().eth.accounts[7]})
    sweeping.settle()
    plan = sweeping.plan()
    assert plan.sweeps == ()
    assert [(one.kind, one.addresses, one.value) for one in plan.findings] == [
        (FindingKind.MISSING, (to,), 20_000_000)
    ]


def test_a_plan_is_sent_once_and_not_when_it_is_old(sweeping: Sweeping) -> None:
    sweeping.pay("USDT", 20_000_000)
    sweeping.settle()
    old = sweeping.plan()
    sweeping.let_pass(timedelta(minutes=16))
    with pytest.raises(SweepRefusedError, match="older"):
        sweeping.send(old)
    plan = sweeping.plan()
    assert len(sweeping.send(plan)) == 1
    with pytest.raises(SweepRefusedError, match="sent before"):
        sweeping.send(plan)
    assert SweepAttempt.objects.count() == 1


def test_two_plans_of_one_address_send_one(sweeping: Sweeping) -> None:
    sweeping.pay("USDT", 20_000_000)
    sweeping.settle()
    first, second = sweeping.plan(), sweeping.plan()
    sweeping.send(first)
    (late,) = sweeping.send(second)
    assert (late.outcome, late.txid) == (SendOutcome.NOT_SENT, "")
    assert "another sweep" in late.why
    assert SweepAttempt.objects.count() == 1


def test_fees_that_rose_make_a_plan_stale(sweeping: Sweeping) -> None:
    sweeping.pay("USDT", 20_000_000)
    sweeping.settle()
    plan = sweeping.plan()
    sweeping.devnet.evm.rpc("anvil_setNextBlockBaseFeePerGas", hex(60 * 10**9))
    sweeping.devnet.evm.mine(1)
    (sent,) = sweeping.send(plan)
    assert (sent.outcome, SweepAttempt.objects.count()) == (SendOutcome.NOT_SENT, 0)
    assert "bears" in sent.why


def test_an_empty_gas_payer_sends_nothing_and_is_said_to_be_low(sweeping: Sweeping) -> None:
    sweeping.pay("USDT", 20_000_000)
    sweeping.settle()
    plan = sweeping.plan()
    health = payer_health(
        network=sweeping.network, nodes=sweeping.nodes, payer=sweeping.payer.address
    )
    assert (health.is_low, health.balance_wei) == (False, 10**18)
    sweeping.devnet.evm.rpc("anvil_setBalance", sweeping.payer.address, hex(10**12))
    (sent,) = sweeping.send(plan)
    assert (sent.outcome, SweepAttempt.objects.count()) == (SendOutcome.NOT_SENT, 0)
    assert "top it up" in sent.why
    assert payer_health(
        network=sweeping.network, nodes=sweeping.nodes, payer=sweeping.payer.address
    ).is_low


def test_an_end_is_booked_once(sweeping: Sweeping) -> None:
    sweeping.pay("USDT", 20_000_000)
    sweeping.settle()
    sweeping.send(sweeping.plan())
    sweeping.follow()
    assert unbooked_ends(network=sweeping.network.caip2) == []
    sweeping.settle()
    sweeping.follow()
    (end,) = unbooked_ends(network=sweeping.network.caip2)
    assert mark_booked(sweep=end.id)
    assert not mark_booked(sweep=end.id)
    assert unbooked_ends(network=sweeping.network.caip2) == []
