"""Tokens that refuse some forwarders, or all: the others go, and the guilty are named."""

from itertools import pairwise

import pytest
from web3.contract import Contract

from chains.models import Sweep
from chains.sweeping.ends import unbooked_ends
from chains.sweeping.holdings import FindingKind
from tests.chains.evm.deploying import deploy
from tests.chains.evm.proxy import provider
from tests.chains.sweeping.conftest import Sweeping

pytestmark = pytest.mark.django_db

BLOCKED, SAYS_FALSE, BURNS_GAS, MOVES_NOTHING, RUBBISH = (1 << bit for bit in range(5))
WORTH = 50_000_000


@pytest.fixture
def moody(sweeping: Sweeping) -> Contract:
    """A listed token with moods; the resident owns its supply."""
    token = deploy(sweeping.devnet.evm, "MoodyToken", 10**15)
    sweeping.list_token(token.address, "MOOD")
    sweeping.scan()
    return token


def pay_many(sweeping: Sweeping, addresses: int) -> list[str]:
    return [sweeping.pay("MOOD", WORTH, f"n{number}") for number in range(addresses)]


@pytest.mark.case("R53")
@pytest.mark.case("R47")
@pytest.mark.case("R56")
@pytest.mark.parametrize("mood", [BLOCKED, SAYS_FALSE, BURNS_GAS, RUBBISH])
def test_one_bad_forwarder_does_not_block_the_batch(
    mood: int, sweeping: Sweeping, moody: Contract
) -> None:
    holders = pay_many(sweeping, 7)
    sweeping.settle()
    bad = holders[3]
    moody.functions.set_mood(bad, mood).transact()

    plan = sweeping.plan()
    assert [len(one.addresses) for one in plan.sweeps] == [6]
    (finding,) = plan.findings
    assert (finding.kind, finding.addresses, finding.value) == (FindingKind.REFUSED, (bad,), WORTH)
    sweeping.send(plan)
    sweeping.settle()
    sweeping.follow()
    assert sweeping.in_treasury("MOOD") == 6 * WORTH

    moody.functions.set_mood(bad, 0).transact()
    sweeping.send(sweeping.plan())
    sweeping.settle()
    sweeping.follow()
    assert sweeping.in_treasury("MOOD") == 7 * WORTH


def test_several_bad_ones_are_found_among_many(sweeping: Sweeping, moody: Contract) -> None:
    holders = pay_many(sweeping, 20)
    sweeping.settle()
    bad = {holders[0], holders[7], holders[8], holders[19]}
    for number, holder in enumerate(sorted(bad)):
        moody.functions.set_mood(holder, 1 << (number % 2)).transact()
    plan = sweeping.plan()
    (one,) = plan.sweeps
    assert set(one.addresses) == set(holders) - bad
    (finding,) = plan.findings
    assert set(finding.addresses) == bad


@pytest.mark.case("R56")
def test_a_paused_token_is_not_asked_about_every_address(
    sweeping: Sweeping, moody: Contract
) -> None:
    pay_many(sweeping, 40)
    sweeping.pay("USDT", WORTH, "other")
    sweeping.settle()
    moody.functions.pause(True).transact()
    with provider(sweeping.devnet.evm.url) as counting:
        sweeping.change_network(endpoints=[counting.url])
        plan = sweeping.plan()
    assert [one.asset for one in plan.sweeps] == [sweeping.asset("USDT").caip19]
    (finding,) = plan.findings
    assert (finding.kind, len(finding.addresses)) == (FindingKind.REFUSED, 40)
    assert "paused" in finding.why
    assert counting.asked["eth_estimateGas"] < 30


def test_a_refusal_after_the_plan_is_stale_and_one_in_the_block_costs_its_gas(
    sweeping: Sweeping, moody: Contract
) -> None:
    holders = pay_many(sweeping, 3)
    sweeping.settle()
    plan, again = sweeping.plan(), sweeping.plan()
    moody.functions.set_mood(holders[1], BLOCKED).transact()
    (stale,) = sweeping.send(plan)
    assert "blocklisted" in stale.why
    moody.functions.set_mood(holders[1], 0).transact()

    evm = sweeping.devnet.evm
    evm.rpc("evm_setAutomine", False)
    try:
        assert [one.why for one in sweeping.send(again)] == [""]
        # With a higher tip it is mined first, in the same block.
        moody.functions.set_mood(holders[1], BLOCKED).transact(
            {"maxPriorityFeePerGas": 40 * 10**9, "maxFeePerGas": 90 * 10**9, "gas": 100_000}
        )
        evm.mine(1)
    finally:
        evm.rpc("evm_setAutomine", True)
    sweeping.settle()
    sweeping.follow()
    assert Sweep.objects.get(plan=again.id).state == "reverted"
    assert sweeping.in_treasury("MOOD") == 0
    (end,) = unbooked_ends(network=sweeping.network.caip2)
    assert (end.moved, end.fee_wei > 0) == (0, True)

    sweeping.send(sweeping.plan())
    sweeping.settle()
    sweeping.follow()
    assert sweeping.in_treasury("MOOD") == 2 * WORTH


def test_a_token_that_says_yes_and_moves_nothing_is_seen_through(
    sweeping: Sweeping, moody: Contract
) -> None:
    (holder,) = pay_many(sweeping, 1)
    sweeping.settle()
    moody.functions.set_mood(holder, MOVES_NOTHING).transact()
    sweeping.send(sweeping.plan())
    sweeping.settle()
    sweeping.follow()
    (end,) = unbooked_ends(network=sweeping.network.caip2)
    assert end.moved == 0
    # The coins are still there, and are still planned for.
    moody.functions.set_mood(holder, 0).transact()
    sweeping.send(sweeping.plan())
    sweeping.settle()
    sweeping.follow()
    moved = [one.moved for one in unbooked_ends(network=sweeping.network.caip2)]
    assert moved == [0, WORTH]
    nonces = list(Sweep.objects.order_by("pk").values_list("nonce", flat=True))
    assert all(later == earlier + 1 for earlier, later in pairwise(nonces))
