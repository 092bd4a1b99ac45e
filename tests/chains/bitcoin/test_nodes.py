"""Nodes that are blind, pruned, on another chain, in disagreement, or talk nonsense."""

import json
import socket
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from alatau_pay.devnet.bitcoind import CAIP2, BitcoinDevnet, start_bitcoind
from alatau_pay.devnet.nodes import Devnet
from alatau_pay.devnet.processes import running
from alatau_pay.devnet.tools import bitcoind_command
from chains.bitcoin.rpc import BitcoinRpc, RpcError
from chains.models import Cursor
from chains.networks import registry
from chains.nodes import (
    BlockPrunedError,
    NodeBlindError,
    NodeContradictionError,
    NodeUnavailableError,
    WrongChainError,
)
from chains.pool import PAUSE_S_MAX, NodePool, endpoint_name
from chains.scanning import scan_network
from tests.chains.bitcoin.conftest import Gateway, gateway_on, mine_only

pytestmark = pytest.mark.django_db


class Clock:
    """Seconds that pass when a test says so."""

    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        self.now += 0.001
        return self.now


def with_clock(gateway: Gateway, clock: Clock) -> Gateway:
    """The same gateway, its pool's time the test's."""
    node = gateway.node
    assert isinstance(node, NodePool)
    urls = gateway.network.endpoints
    pool = NodePool(name=gateway.network.name, urls=urls, connect=node._connect, clock=clock)
    return replace(gateway, node=pool)


@pytest.mark.case("R15")
def test_a_node_in_its_initial_download_is_blind(networks: Devnet, tmp_path: Path) -> None:
    """It answers every question, and its tip is of the day before yesterday."""
    old = int((datetime.now(UTC) - timedelta(days=2)).timestamp())
    with start_bitcoind(tmp_path, options=[f"-mocktime={old}"]):
        pass
    with start_bitcoind(tmp_path) as node:
        gateway = gateway_on(node)
        with pytest.raises(NodeBlindError, match="catching up"):
            gateway.scan()
        assert not Cursor.objects.filter(caught_up_at__isnull=False).exists()
        assert isinstance(gateway.node, NodePool)
        assert "catching up" in gateway.node.health[0].error
        node.mine(1)
        assert gateway_on(node).scan().caught_up


@pytest.mark.case("R15")
def test_a_node_that_was_restarted_goes_on_where_it_was(networks: Devnet, tmp_path: Path) -> None:
    clock = Clock()
    with start_bitcoind(tmp_path) as node:
        gateway = with_clock(gateway_on(node), clock)
        gateway.scan()
        node.pay(address=gateway.address(), value_sat=50_000)
        gateway.scan()
    clock.now += PAUSE_S_MAX
    with pytest.raises(NodeUnavailableError, match="endpoints in NETWORKS_FILE"):
        gateway.scan()
    assert gateway.states() == ["seen"]
    with start_bitcoind(tmp_path) as node:
        clock.now += PAUSE_S_MAX
        node.mine(2)
        assert gateway.scan().caught_up
        assert gateway.states() == ["final"]


@pytest.mark.case("R17")
def test_a_node_pruned_past_the_cursor_stops_the_scan(networks: Devnet, tmp_path: Path) -> None:
    """The blocks between are lost to it, and a payment in them must not be lost to us."""
    clock = Clock()
    with start_bitcoind(tmp_path / "full") as full:
        full.mine(110)
        gateway = with_clock(gateway_on(full), clock)
        gateway.scan()
        full.pay(address=gateway.address(), value_sat=50_000)
        full.mine(400)
        options = ["-prune=1", "-fastprune"]
        with start_bitcoind(tmp_path / "pruned", options=options, peers=[full]) as pruned:
            assert pruned.call("pruneblockchain", 320) > gateway.network.start_height
            before = Cursor.objects.values().get(network=CAIP2)
            alone = replace(gateway, network=replace(gateway.network, endpoints=(pruned.rpc_url,)))
            alone = with_clock(alone, clock)
            for _ in range(2):
                clock.now += PAUSE_S_MAX
                with pytest.raises(BlockPrunedError, match="nothing was skipped"):
                    alone.scan()
            assert Cursor.objects.values().get(network=CAIP2) == before
            both = replace(gateway.network, endpoints=(pruned.rpc_url, full.rpc_url))
            together = with_clock(replace(gateway, network=both), clock)
            with pytest.raises(BlockPrunedError):
                together.scan()
            while not together.scan().caught_up:
                pass
            assert isinstance(together.node, NodePool)
            assert together.node.speaker == endpoint_name(full.rpc_url)
        assert gateway.states() == ["final"]


@pytest.mark.case("R18")
def test_another_chain_behind_the_same_address_is_refused_at_the_next_connect(
    networks: Devnet, tmp_path: Path
) -> None:
    clock = Clock()
    with start_bitcoind(tmp_path / "regtest") as node:
        gateway = with_clock(gateway_on(node), clock)
        gateway.scan()
        node.pay(address=gateway.address(), value_sat=50_000)
        node.mine(2)
        gateway.scan()
    before = Cursor.objects.values().get(network=CAIP2)
    parts = urlsplit(node.rpc_url)
    command = [*bitcoind_command(), "-chain=testnet4", f"-datadir={tmp_path}", "-server"]
    command += [f"-rpcport={parts.port}", f"-rpcuser={parts.username}", "-listen=0"]
    command += [f"-rpcpassword={parts.password}", "-connect=0", "-printtoconsole=1"]

    def answers() -> bool:
        try:
            BitcoinRpc(url=node.rpc_url, name="testnet4", timeout_s=5).call("getblockcount")
        except NodeUnavailableError:
            return False
        return True

    with running(command, folder=tmp_path, name="testnet4", answers=answers):
        for _ in range(2):
            clock.now += PAUSE_S_MAX
            with pytest.raises(WrongChainError, match="another chain"):
                gateway.scan()
    assert Cursor.objects.values().get(network=CAIP2) == before
    assert gateway.states() == ["final"]


@pytest.mark.case("R19")
def test_two_nodes_that_disagree_settle_only_what_both_hold(
    networks: Devnet, tmp_path: Path
) -> None:
    clock = Clock()
    with (
        start_bitcoind(tmp_path / "one") as one,
        start_bitcoind(tmp_path / "two", peers=[one]) as two,
    ):
        gateway = with_clock(gateway_on(one, two), clock)
        gateway.scan()
        two.cut_from(one)
        one.pay(address=gateway.address(), value_sat=50_000)
        one.mine(3)
        two.call("generatetoaddress", 3, two.call("getnewaddress", wallet="resident"))
        clock.now += PAUSE_S_MAX
        gateway.scan()
        (paid,) = gateway.transfers()
        assert (paid.state, paid.confirmations) == ("included", 3)
        assert isinstance(gateway.node, NodePool)
        assert (gateway.node.health[1].agreed_height or 0) <= 101

        one.mine(1)
        two.connect_to(one)
        two.wait_for_tip_of(one)
        gateway.scan()
        assert gateway.states() == ["final"]


@pytest.mark.case("R19")
@pytest.mark.case("R5")
def test_the_chain_of_the_other_node_may_win(networks: Devnet, tmp_path: Path) -> None:
    clock = Clock()
    with (
        start_bitcoind(tmp_path / "one") as one,
        start_bitcoind(tmp_path / "two", peers=[one]) as two,
    ):
        gateway = with_clock(gateway_on(one, two), clock)
        gateway.scan()
        two.cut_from(one)
        one.pay(address=gateway.address(), value_sat=50_000)
        one.mine(2)
        gateway.scan()
        assert gateway.states() == ["included"]
        two.call("generatetoaddress", 3, two.call("getnewaddress", wallet="resident"))
        two.connect_to(one)
        one.wait_for_tip_of(two)
        report = gateway.scan()
        assert (report.rewound, report.applied) == (2, 3)
        assert gateway.states() == ["seen"]
        one.mine(2)
        two.wait_for_tip_of(one)
        gateway.scan()
        assert gateway.states() == ["final"]


@pytest.mark.case("R19")
def test_what_is_final_is_not_taken_back_on_one_nodes_word(
    networks: Devnet, tmp_path: Path
) -> None:
    """A node that is far ahead speaks, also where it stands last and follows a chain of its own."""
    clock = Clock()
    with (
        start_bitcoind(tmp_path / "one") as one,
        start_bitcoind(tmp_path / "two", peers=[one]) as two,
    ):
        gateway = with_clock(gateway_on(one, two), clock)
        gateway.scan()
        one.pay(address=gateway.address(), value_sat=50_000)
        paid_in, _above = one.mine(2)
        two.wait_for_tip_of(one)
        gateway.scan()
        assert gateway.states() == ["final"]

        two.cut_from(one)
        two.call("invalidateblock", paid_in)
        for _ in range(8):
            mine_only(two)
        clock.now += PAUSE_S_MAX
        with pytest.raises(NodeContradictionError, match="Nothing final was taken back"):
            gateway.scan()
        assert gateway.states() == ["final"]

        two.connect_to(one)
        one.wait_for_tip_of(two)
        clock.now += PAUSE_S_MAX
        gateway.scan()
        assert gateway.states() != ["final"]


@pytest.mark.case("R20")
def test_a_wrong_password_is_named_and_not_shown(bitcoin: BitcoinDevnet, networks: Devnet) -> None:
    parts = urlsplit(bitcoin.rpc_url)
    url = f"http://devnet:hunter2@{parts.hostname}:{parts.port}"
    gateway = gateway_on(bitcoin)
    network = replace(gateway.network, endpoints=(url,))
    assert isinstance(gateway.node, NodePool)
    pool = NodePool(name="Bitcoin", urls=[url], connect=gateway.node._connect)
    rpc = BitcoinRpc(url=url, name="Bitcoin", timeout_s=5)
    with pytest.raises(NodeUnavailableError, match=r"endpoints in NETWORKS_FILE.*password") as one:
        rpc.call("getblockcount")
    assert "hunter2" not in str(one.value)
    gateway = replace(gateway, network=network)
    with pytest.raises(NodeUnavailableError):
        scan_network(network=registry().networks[CAIP2], node=pool)


def http_answer(body: bytes, *, status: str = "200 OK", length: int | None = None) -> bytes:
    size = len(body) if length is None else length
    return f"HTTP/1.1 {status}\r\nContent-Length: {size}\r\n\r\n".encode() + body


def answer_of(**said: object) -> bytes:
    return http_answer(json.dumps([said]).encode())


@contextmanager
def node_that_says(*answers: bytes, keep_open: bool = True) -> Iterator[str]:
    """A server that reads a question and says the next of some bytes, whatever was asked."""
    with closing(socket.create_server(("127.0.0.1", 0))) as server:

        def serve() -> None:
            left = list(answers)
            while left:
                connection, _peer = server.accept()
                with connection:
                    while left and _read_question(connection):
                        connection.sendall(left.pop(0))
                        if not keep_open:
                            break

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield f"http://user:hunter2@127.0.0.1:{server.getsockname()[1]}"


def _read_question(connection: socket.socket) -> bool:
    read = b""
    while b"\r\n\r\n" not in read:
        part = connection.recv(65536)
        if not part:
            return False
        read += part
    head, _, body = read.partition(b"\r\n\r\n")
    size = next(
        int(line.split(b":")[1])
        for line in head.lower().split(b"\r\n")
        if b"content-length" in line
    )
    while len(body) < size:
        body += connection.recv(65536)
    return True


NONSENSE = {
    "401": (http_answer(b"", status="401 Unauthorized"), "password"),
    "403": (http_answer(b"", status="403 Forbidden"), "password"),
    "503": (http_answer(b"Work queue depth exceeded", status="503 Unavailable"), "HTTP 503"),
    "html": (http_answer(b"<html>Bad gateway</html>", status="502 Bad Gateway"), "HTTP 502"),
    "truncated JSON": (http_answer(b'[{"result": 1, "err'), "no JSON"),
    "truncated answer": (http_answer(b'[{"result": 1}]', length=4_000), "IncompleteRead"),
    "nothing": (b"\x00", "BadStatusLine"),
    "wrong id": (answer_of(result=7, error=None, id=99), "another question"),
    "an id of another type": (answer_of(result=7, error=None, id="1"), "another question"),
    "an id that is a list": (answer_of(result=7, error=None, id=[1]), "another question"),
    "no id": (answer_of(result=7, error=None), "another question"),
    "two answers": (http_answer(b'[{"result":7,"id":1},{"result":8,"id":1}]'), "another question"),
    "a number": (http_answer(b"7"), "another shape"),
    "one answer alone": (http_answer(b'{"result":7,"id":1}'), "another shape"),
    "result and error": (answer_of(result=7, error={"code": -1}, id=1), "at once"),
    "neither": (answer_of(result=None, error=None, id=1), "no result"),
    "invalid UTF-8": (http_answer(b'[{"result":"\xff","id":1}]'), "no JSON"),
}


@pytest.mark.case("R20")
@pytest.mark.parametrize("kind", NONSENSE)
def test_nonsense_is_no_answer(kind: str) -> None:
    said, why = NONSENSE[kind]
    with node_that_says(said) as url:
        rpc = BitcoinRpc(url=url, name="Bitcoin", timeout_s=5)
        with pytest.raises(NodeUnavailableError, match=why) as refused:
            rpc.call("getblockcount")
        assert "endpoints in NETWORKS_FILE" in str(refused.value)
        assert "hunter2" not in str(refused.value)


@pytest.mark.case("R20")
def test_a_refusal_keeps_its_code_and_a_warming_node_is_blind() -> None:
    refusal = answer_of(result=None, error={"code": -8, "message": "out of range"}, id=1)
    with node_that_says(refusal) as url:
        rpc = BitcoinRpc(url=url, name="Bitcoin", timeout_s=5)
        with pytest.raises(RpcError, match="out of range") as refused:
            rpc.call("getblockhash", 9)
        assert refused.value.code == -8
    warming = answer_of(result=None, error={"code": -28, "message": "Loading…"}, id=1)
    with node_that_says(warming) as url, pytest.raises(NodeBlindError, match="starting"):
        BitcoinRpc(url=url, name="Bitcoin", timeout_s=5).call("getblockcount")


@pytest.mark.case("R20")
def test_silence_ends_and_a_connection_that_was_closed_is_opened_again() -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as silent:
        url = f"http://user:hunter2@127.0.0.1:{silent.getsockname()[1]}"
        with pytest.raises(NodeUnavailableError, match="TimeoutError"):
            BitcoinRpc(url=url, name="Bitcoin", timeout_s=0.2).call("getblockcount")
    answers = [answer_of(result=number, error=None, id=number) for number in (1, 2)]
    # An idle bitcoind closes a connection after half a minute, and does not say so.
    with node_that_says(*answers, keep_open=False) as url:
        rpc = BitcoinRpc(url=url, name="Bitcoin", timeout_s=5)
        assert [rpc.call("getblockcount") for _ in answers] == [1, 2]
        with pytest.raises(NodeUnavailableError):
            rpc.call("getblockcount")
