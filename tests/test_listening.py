"""The listener outlives its nodes, and what one does costs the other networks nothing."""

import asyncio
import http.client
import secrets
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from bitcoin.rpc import JSONRPCError, RawProxy
from structlog.testing import capture_logs

from alatau_pay.devnet import anvil, bitcoind
from alatau_pay.devnet.nodes import Devnet
from alatau_pay.devnet.processes import free_port, running
from alatau_pay.devnet.tools import bitcoind_command
from alatau_pay.listening import POKE_GAP_S, listen
from chains.assets import Network
from chains.networks import registry
from tests.chains.test_pool import bare_node, mine
from tests.waiting import wait_until


@contextmanager
def bitcoin_node(folder: Path, port: int, zmq_port: int) -> Iterator[RawProxy]:
    folder.mkdir(exist_ok=True)
    url = f"http://u:p@127.0.0.1:{port}"
    command = [*bitcoind_command(), "-regtest", f"-datadir={folder}", "-listen=0", "-server"]
    command += [f"-rpcport={port}", "-rpcuser=u", "-rpcpassword=p", "-printtoconsole=1"]
    command += [f"-zmqpubhashblock=tcp://127.0.0.1:{zmq_port}", "-debuglogfile=0", "-dbcache=4"]

    def answers() -> bool:
        try:
            RawProxy(service_url=url).getblockcount()
        except (OSError, http.client.HTTPException, ValueError, JSONRPCError):
            return False
        return True

    with running(command, folder=folder, name="bitcoind", answers=answers):
        yield RawProxy(service_url=url)


def mine_bitcoin(node: RawProxy) -> None:
    node.generatetodescriptor(1, "raw(51)#8lvh9jxk")


@contextmanager
def listener(*networks: Network, poke_fails: bool = False) -> Iterator[list[str]]:
    """A listener in a thread of its own; yields the networks it poked, in order."""
    poked: list[str] = []

    def poke(caip2: str) -> None:
        poked.append(caip2)
        if poke_fails:
            raise ConnectionError("the broker is away")

    loop = asyncio.new_event_loop()
    task = loop.create_task(listen(networks, poke))

    def run() -> None:
        try:
            loop.run_until_complete(task)
        except asyncio.CancelledError:
            pass
        finally:
            loop.close()

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield poked
        assert thread.is_alive()
    finally:
        loop.call_soon_threadsafe(task.cancel)
        thread.join()


@pytest.fixture
def both(networks: Devnet) -> tuple[Network, Network]:
    """The registry's Bitcoin and EVM networks."""
    listed = registry().networks
    return listed[bitcoind.CAIP2], listed[anvil.CAIP2]


@pytest.mark.case("R14")
def test_an_evm_node_that_goes_and_comes_back_is_heard_again_and_no_other_network_suffers(
    both: tuple[Network, Network], devnet: Devnet, tmp_path: Path
) -> None:
    bitcoin, evm = both
    port, key = free_port(), secrets.token_hex(16)
    evm = replace(evm, push=f"ws://127.0.0.1:{port}/?key={key}")
    with capture_logs() as logged, listener(bitcoin, evm) as poked:
        for _life in range(2):
            poked.clear()
            with bare_node(tmp_path, port=port) as web3:
                wait_until(lambda: evm.caip2 in poked)  # at every connect
                poked.clear()
                wait_until(lambda: mine(web3, 1) or evm.caip2 in poked)
                logged.clear()
            wait_until(lambda: logged != [])
            poked.clear()
            wait_until(lambda: devnet.bitcoin.mine(1) != [] and bitcoin.caip2 in poked)
    assert key not in str(logged)
    assert {row["event"] for row in logged} == {"push lost"}


@pytest.mark.case("R14")
def test_a_bitcoin_node_that_goes_and_comes_back_is_heard_again(
    both: tuple[Network, Network], tmp_path: Path
) -> None:
    port, zmq_port = free_port(), free_port()
    bitcoin = replace(both[0], push=f"tcp://127.0.0.1:{zmq_port}")
    with listener(bitcoin) as poked:
        for _life in range(2):
            with bitcoin_node(tmp_path / "node", port, zmq_port) as node:
                poked.clear()
                wait_until(lambda: mine_bitcoin(node) or poked != [])


def test_an_endpoint_that_is_none_and_a_node_that_is_no_node_stop_nobody(
    both: tuple[Network, Network], devnet: Devnet
) -> None:
    bitcoin, evm = both
    wrong = [
        replace(bitcoin, push="nonsense"),
        replace(evm, push="wss://"),
        replace(evm, push=devnet.bitcoin.rpc_url.replace("http", "ws")),
    ]
    with capture_logs() as logged, listener(bitcoin, *wrong) as poked:
        wait_until(lambda: len([row for row in logged if row["event"] == "push lost"]) >= 3)
        wait_until(lambda: devnet.bitcoin.mine(1) != [] and bitcoin.caip2 in poked)


def test_a_broker_that_is_away_is_tried_again(
    both: tuple[Network, Network], devnet: Devnet
) -> None:
    bitcoin, _evm = both
    with capture_logs() as logged, listener(bitcoin, poke_fails=True) as poked:
        wait_until(lambda: devnet.bitcoin.mine(1) != [] and len(poked) >= 3)
    assert "the broker is away" not in str(logged)


@pytest.mark.case("R26")
def test_a_flood_of_announcements_becomes_a_few_pokes(
    both: tuple[Network, Network], devnet: Devnet
) -> None:
    bitcoin, _evm = both
    with listener(bitcoin) as poked:
        wait_until(lambda: devnet.bitcoin.mine(1) != [] and poked != [])
        poked.clear()
        clock = asyncio.new_event_loop()
        began = clock.time()
        devnet.bitcoin.mine(200)  # a block and a transaction each: 400 announcements
        wait_until(lambda: poked != [])
        assert len(poked) <= 2 + (clock.time() - began) / POKE_GAP_S
        clock.close()
