"""A node behind a proxy that breaks answers: in the end the scanner knows what the chain holds.

``make proofs`` runs many schedules, ``make test`` a few; each is named by its seed and replays from
it as far as the real nodes allow.
"""

from collections.abc import Callable
from dataclasses import replace

import pytest

from alatau_pay.devnet import anvil, bitcoind
from alatau_pay.devnet.nodes import Devnet
from chains.networks import node_for, registry
from tests.proof.counting import bitcoin_outputs, evm_outputs
from tests.proof.proxy import FaultProxy, fault_proxy
from tests.proof.schedule import SCHEDULES, Schedule, scanned, settle

pytestmark = pytest.mark.django_db


def trouble(plan: Schedule, proxy: FaultProxy) -> Callable[[], None]:
    """Let the proxy break none, some or many of the next answers."""

    def choose() -> None:
        proxy.share = plan.random.choice([0.0, 0.1, 0.3])

    return choose


@pytest.mark.case("R20")
@pytest.mark.case("R14")
@pytest.mark.parametrize("seed", range(SCHEDULES * 3 // 2))
def test_bitcoin_behind_a_faulty_proxy(seed: int, networks: Devnet) -> None:
    node = networks.bitcoin
    since = node.call("getblockcount")
    with fault_proxy(node.rpc_url, seed=seed) as proxy:
        listed = registry().networks[bitcoind.CAIP2]
        network = replace(listed, endpoints=(proxy.url,), start_height=since + 1)
        settle(network, lambda: node_for(network))
        plan = Schedule(seed, network)
        unmined: list[str] = []

        def pay() -> None:
            unmined.append(node.pay(address=plan.payee(), value_sat=plan.random.randint(600, 9999)))

        def take_back() -> None:
            waiting = set(node.call("getrawmempool"))
            mine = [txid for txid in unmined if txid in waiting]
            if mine:
                node.take_back(mine[-1])

        def reorganise() -> None:
            depth = min(plan.random.randint(1, 5), node.call("getblockcount") - since)
            if depth > 0:
                height = node.call("getblockcount") - depth + 1
                node.call("invalidateblock", node.call("getblockhash", height))
                node.mine(depth + 1)

        plan.run(
            [pay, pay, pay, lambda: node.mine(1), lambda: node.mine(2), take_back, reorganise],
            trouble(plan, proxy),
        )
        proxy.share = 0.0
        node.mine(1)
        settle(network, lambda: node_for(network))
    assert scanned(network.caip2) == bitcoin_outputs(node, plan.addresses, since=since)


@pytest.mark.case("R20")
@pytest.mark.case("R40")
@pytest.mark.parametrize("seed", range(SCHEDULES * 3 // 2))
def test_an_evm_chain_behind_a_faulty_proxy(seed: int, networks: Devnet) -> None:
    node, web3 = networks.evm, networks.evm.web3()
    since = web3.eth.block_number
    with fault_proxy(node.url, seed=seed) as proxy:
        listed = registry().networks[anvil.CAIP2]
        network = replace(listed, endpoints=(proxy.url,), start_height=since + 1)
        settle(network, lambda: node_for(network))
        plan = Schedule(seed, network)
        snapshots: list[tuple[str, int]] = []

        def pay() -> None:
            token = plan.random.choice([node.usdt, node.usdc, None])
            node.pay(address=plan.payee(), value=plan.random.randint(1, 10**7), token=token)

        def mark() -> None:
            snapshots.append((node.rpc("evm_snapshot"), web3.eth.block_number))
            node.mine(1)

        def reorganise() -> None:
            if not snapshots:
                return
            index = plan.random.randrange(len(snapshots))
            snapshot, _height = snapshots[index]
            del snapshots[index:]
            tip = web3.eth.get_block("latest")
            node.rpc("evm_revert", snapshot)
            later = tip["timestamp"] + plan.random.randint(10, 99)
            node.rpc("anvil_setNextBlockTimestamp", hex(later))
            while web3.eth.block_number <= tip["number"]:
                plan.random.choice([pay, lambda: node.mine(1)])()

        plan.run([pay, pay, pay, mark, mark, reorganise], trouble(plan, proxy))
        proxy.share = 0.0
        node.mine(2)
        settle(network, lambda: node_for(network))
    tokens = [node.usdt, node.usdc]
    expected = evm_outputs(node, plan.addresses, since=since, tokens=tokens)
    assert scanned(network.caip2) == expected
