"""Several real nodes asked as one: who speaks, who is left alone, and what all must agree on."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from web3 import HTTPProvider, Web3

from alatau_pay.devnet import anvil
from alatau_pay.devnet.nodes import Devnet
from alatau_pay.devnet.processes import free_port, running
from alatau_pay.devnet.tools import anvil_command
from chains.assets import Network
from chains.evm.node import EvmNode
from chains.networks import registry
from chains.nodes import NodeUnavailableError, WrongChainError
from chains.pool import LAG_BLOCKS_MAX, PAUSE_S_MAX, ROUND_S, NodePool, endpoint_name
from tests.chains.evm.proxy import Json, provider


class Clock:
    """Seconds that pass when a test says so."""

    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        return self.now


@contextmanager
def bare_node(
    folder: Path,
    *,
    chain_id: int = anvil.CHAIN_ID,
    began_at: int = 1_790_000_000,
    port: int | None = None,
) -> Iterator[Web3]:
    """A node without contracts."""
    port = port or free_port()
    web3 = Web3(HTTPProvider(f"http://127.0.0.1:{port}"))
    command = [*anvil_command(), "--host", "127.0.0.1", "--port", str(port), "--silent"]
    command += ["--chain-id", str(chain_id), "--timestamp", str(began_at)]
    command += ["--slots-in-an-epoch", "1"]
    with running(command, folder=folder, name="anvil", answers=web3.is_connected):
        yield web3


def url_of(web3: Web3) -> str:
    return str(web3.provider.endpoint_uri)  # type: ignore[attr-defined]


def mine(web3: Web3, blocks: int) -> None:
    web3.provider.make_request("anvil_mine", [hex(blocks)])  # type: ignore[arg-type]


def pool_of(network: Network, clock: Clock, *urls: str) -> NodePool:
    def connect(url: str) -> EvmNode:
        return EvmNode(network=network, assets=(), url=url, timeout_s=2)

    return NodePool(name=network.name, urls=urls, connect=connect, clock=clock)


@pytest.fixture
def network(networks: Devnet) -> Network:
    """The devnet's EVM network, without contracts to look for."""
    return replace(registry().networks[anvil.CAIP2], factory="", forwarder="", treasury="")


@pytest.mark.case("R20")
@pytest.mark.case("R43")
def test_the_next_node_speaks_when_one_is_dead_or_on_another_chain(
    network: Network, tmp_path: Path
) -> None:
    dead = f"http://key:secret@127.0.0.1:{free_port()}/secret"
    with (
        bare_node(tmp_path / "other", chain_id=1) as other,
        bare_node(tmp_path / "right") as right,
    ):
        mine(right, 3)
        pool = pool_of(network, Clock(), dead, url_of(other), url_of(right))
        assert pool.tip_height() == 3
        assert pool.speaker == endpoint_name(url_of(right))
        first, second, third = pool.health
        assert "does not answer" in first.error
        assert "chain 1" in second.error
        assert not third.error
        assert "secret" not in repr(pool.health)


@pytest.mark.case("R43")
def test_nobody_on_the_right_chain_says_so(network: Network, tmp_path: Path) -> None:
    with (
        bare_node(tmp_path / "other", chain_id=1) as other,
        pytest.raises(WrongChainError, match="NETWORKS_FILE"),
    ):
        pool_of(network, Clock(), url_of(other)).tip_height()


def test_a_node_that_dies_is_replaced_in_the_same_question_and_comes_back_later(
    network: Network, tmp_path: Path
) -> None:
    clock = Clock()
    with bare_node(tmp_path / "second") as second:
        with bare_node(tmp_path / "first") as first:
            pool = pool_of(network, clock, url_of(first), url_of(second))
            pool.tip_height()
            assert pool.speaker == endpoint_name(url_of(first))
        assert pool.tip_height() == 0
        assert pool.speaker == endpoint_name(url_of(second))
        pauses = []
        for _ in range(8):
            clock.now += PAUSE_S_MAX + ROUND_S
            pool.tip_height()
            pauses.append(pool._endpoints[0].pause_s)
        assert pauses == sorted(pauses)
        assert pauses[-1] == PAUSE_S_MAX


def test_a_node_that_is_behind_does_not_speak(network: Network, tmp_path: Path) -> None:
    clock = Clock()
    with bare_node(tmp_path / "slow") as slow, bare_node(tmp_path / "fast") as fast:
        mine(fast, LAG_BLOCKS_MAX + 1)
        pool = pool_of(network, clock, url_of(slow), url_of(fast))
        assert pool.tip_height() == LAG_BLOCKS_MAX + 1
        mine(slow, LAG_BLOCKS_MAX + 1)
        clock.now += ROUND_S
        pool.tip_height()
        assert pool.speaker == endpoint_name(url_of(slow))


@pytest.mark.case("R19")
def test_nothing_is_final_that_two_nodes_do_not_agree_on(network: Network, tmp_path: Path) -> None:
    with (
        bare_node(tmp_path / "one") as one,
        bare_node(tmp_path / "fork", began_at=1_790_009_000) as fork,
    ):
        for web3 in (one, fork):
            mine(web3, 10)
        same = url_of(one).replace("127.0.0.1", "localhost")
        together = pool_of(network, Clock(), url_of(one), same)
        assert together.final_height(together.tip_height(), 3) == 8
        apart = pool_of(network, Clock(), url_of(one), url_of(fork))
        assert apart.final_height(apart.tip_height(), 3) == -1
        assert [one.agreed_height for one in apart.health] == [None, -1]


def test_a_pool_of_silent_nodes_names_the_setting(network: Network) -> None:
    pool = pool_of(network, Clock(), f"http://127.0.0.1:{free_port()}")
    with pytest.raises(NodeUnavailableError, match="NETWORKS_FILE"):
        pool.tip_height()


@pytest.mark.case("R19")
def test_a_speaker_that_dies_while_it_is_compared_is_not_the_spares_failure(
    network: Network, tmp_path: Path
) -> None:
    with bare_node(tmp_path / "spare") as spare, bare_node(tmp_path / "first") as first:
        mine(spare, 5)
        mine(first, 5)

        def dies(question: Json, said: Json) -> Json:
            asks_for_a_block = question["method"] == "eth_getBlockByNumber"
            if asks_for_a_block and question["params"][0] == hex(3):
                return {"id": None}
            return said

        with provider(url_of(first), dies) as dying:
            pool = pool_of(network, Clock(), dying.url, url_of(spare))
            assert pool.tip_height() == 5
            with pytest.raises(NodeUnavailableError):
                pool.final_height(5, 3)
            speaker, other = pool.health
            assert (bool(speaker.error), other.error) == (True, "")
            assert pool.final_height(5, 3) == 3
            assert pool.speaker == endpoint_name(url_of(spare))
