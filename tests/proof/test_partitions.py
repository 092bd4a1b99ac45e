"""Two bitcoinds that lose sight of each other and meet again, asked as one by the scanner.

Blocks and transactions are carried from one to the other by hand (``submitblock``), so that a
partition lasts exactly as long as its schedule says.
"""

from collections.abc import Iterator
from dataclasses import replace

import pytest
from bitcoin.rpc import JSONRPCError

from alatau_pay.devnet import bitcoind
from alatau_pay.devnet.bitcoind import BitcoinDevnet, start_bitcoind
from alatau_pay.devnet.nodes import Devnet
from chains.networks import node_for, registry
from tests.proof.counting import bitcoin_outputs
from tests.proof.schedule import SCHEDULES, Schedule, scanned, settle

pytestmark = pytest.mark.django_db

DEPTH_MAX = 20


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BitcoinDevnet]:
    """A second node; it has no coins of its own once it follows the first one's chain."""
    with start_bitcoind(tmp_path_factory.mktemp("other")) as running:
        yield running


def carry(source: BitcoinDevnet, target: BitcoinDevnet) -> None:
    """Bring every block that ``target`` lacks from the best chain of ``source``."""
    missing = []
    block_hash = source.call("getbestblockhash")
    while not knows(target, block_hash):
        missing.append(block_hash)
        block_hash = source.call("getblockheader", block_hash)["previousblockhash"]
    for one in reversed(missing):
        target.call("submitblock", source.call("getblock", one, 0))


def knows(node: BitcoinDevnet, block_hash: str) -> bool:
    try:
        node.call("getblock", block_hash, 1)
    except JSONRPCError:
        return False
    return True


def meet(one: BitcoinDevnet, two: BitcoinDevnet) -> None:
    """End the partition: the longer chain wins on both; equal ones are decided by a block."""
    carry(one, two)
    carry(two, one)
    if one.call("getbestblockhash") != two.call("getbestblockhash"):
        one.mine(1)
        carry(one, two)


@pytest.mark.case("R2")
@pytest.mark.case("R8")
@pytest.mark.case("R19")
@pytest.mark.parametrize("seed", range(SCHEDULES))
def test_two_bitcoinds_in_and_out_of_touch(
    seed: int, networks: Devnet, other: BitcoinDevnet
) -> None:
    one, two = networks.bitcoin, other
    while one.call("getblockcount") <= two.call("getblockcount"):
        one.mine(5)
    meet(one, two)
    since = one.call("getblockcount")
    listed = registry().networks[bitcoind.CAIP2]
    urls = (one.rpc_url, two.rpc_url)
    network = replace(listed, endpoints=urls, start_height=since + 1)
    settle(network, lambda: node_for(network))
    plan = Schedule(seed, network)
    paid: list[str] = []

    def pay() -> None:
        paid.append(one.pay(address=plan.payee(), value_sat=plan.random.randint(600, 99_999)))

    def tell() -> None:
        """Let the other side hear of one payment: both may mine it, or its replacement."""
        for txid in set(paid[-2:]) & set(one.call("getrawmempool")):
            try:
                two.call("sendrawtransaction", one.call("getrawtransaction", txid))
            except JSONRPCError:
                continue  # its coins are not, or no more, to be had on that side

    def take_back() -> None:
        waiting = [txid for txid in paid if txid in one.call("getrawmempool")]
        if waiting:
            one.take_back(waiting[-1])

    def mine_apart() -> None:
        plan.random.choice([one, two]).mine(plan.random.randint(1, DEPTH_MAX // 2))

    def swap() -> None:
        plan.network = replace(network, endpoints=tuple(plan.random.sample(urls, 2)))
        plan.pool = node_for(plan.network)

    actions = [pay, pay, tell, tell, take_back, mine_apart, mine_apart, swap]
    plan.run([*actions, lambda: meet(one, two)], between=lambda: None)
    meet(one, two)
    one.mine(1)
    carry(one, two)
    settle(network, lambda: node_for(network))
    assert scanned(network.caip2) == bitcoin_outputs(one, plan.addresses, since=since)
    assert scanned(network.caip2) == bitcoin_outputs(two, plan.addresses, since=since)
