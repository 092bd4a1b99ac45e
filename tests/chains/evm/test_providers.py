"""Providers as they are: with other headers, limits, silences, contradictions and lags."""

import threading
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from typing_extensions import override

from alatau_pay.devnet.nodes import Devnet
from chains.answers import ANSWER_BYTES_MAX
from chains.evm.limits import LearnedLimit
from chains.evm.logs import TRANSFER_TOPIC
from chains.evm.rpc import EvmRpc
from chains.health import health_of, record_health
from chains.networks import node_for
from chains.nodes import NodeContradictionError, NodeError, NodeUnavailableError
from chains.scanning import scan_network
from tests.chains.evm.conftest import Scene
from tests.chains.evm.proxy import Json, Provider, provider, refuse

pytestmark = pytest.mark.django_db

BLOCKS = 120


def pay_over(scene: Scene, blocks: int) -> list[int]:
    """Pay in every tenth of some blocks; returns the values."""
    values = []
    for number in range(0, blocks, 10):
        values.append(number + 1)
        scene.evm.pay(address=scene.to, value=number + 1, token=scene.evm.usdt)
        scene.evm.mine(9)
    return values


def span(question: Json) -> int:
    """How many blocks a question for logs is about."""
    (query,) = question["params"]
    return (
        1 if "blockHash" in query else int(query["toBlock"], 16) - int(query["fromBlock"], 16) + 1
    )


def logs_up_to(blocks: int, code: int, words: str) -> Callable[[Json, Json], Json]:
    """A provider that answers for so many blocks at most."""

    def change(question: Json, said: Json) -> Json:
        if question["method"] == "eth_getLogs" and span(question) > blocks:
            return refuse(question, code, words)
        return said

    return change


def with_long_extra_data(_question: Json, said: Json) -> Json:
    """BNB Chain and Polygon: validators and their seals stand in extraData, beyond 32 bytes."""
    if isinstance(said.get("result"), dict) and "extraData" in said["result"]:
        said["result"]["extraData"] = "0x" + "d8" * 517
    return said


def no_logs(question: Json, said: Json) -> Json:
    """A provider whose index of logs lags: nothing, and no error."""
    return said | {"result": []} if question["method"] == "eth_getLogs" else said


def no_block_receipts(question: Json, said: Json) -> Json:
    said = no_logs(question, said)
    if question["method"] == "eth_getBlockReceipts":
        return refuse(question, -32601, "the method eth_getBlockReceipts does not exist")
    return said


def test_a_proof_of_authority_networks_headers_are_read(scene: Scene) -> None:
    with provider(scene.evm.url, with_long_extra_data) as seen:
        over = scene.over(seen.url)
        scene.evm.pay(address=scene.to, value=4, token=scene.evm.usdt)
        scene.evm.pay(address=scene.to, value=6)
        over.settle()
    assert scene.counted() == [4, 6]


@pytest.mark.case("R39")
@pytest.mark.parametrize(
    ("blocks", "code", "words"),
    [
        (5, -32600, "block range is too large, limited to 5"),
        (1, -32000, "query timeout exceeded"),
        (50, -32005, "query returned more than 10000 results"),
        (33, -32602, "exceed maximum block range: 33"),
    ],
)
def test_a_limited_range_is_learned_and_nothing_is_missed(
    blocks: int, code: int, words: str, scene: Scene
) -> None:
    values = pay_over(scene, BLOCKS)
    with provider(scene.evm.url, logs_up_to(blocks, code, words)) as seen:
        over = scene.over(seen.url)
        over.settle()
        first = seen.asked["eth_getLogs"]
        pay_over(scene, BLOCKS)
        over.settle()
        second = seen.asked["eth_getLogs"] - first
    assert sorted(scene.counted()) == sorted(2 * values)
    # What was learned is kept: almost no question of the second time is refused.
    assert second <= -(-(BLOCKS + 2) // blocks) + BLOCKS // 2 // blocks + 8


@pytest.mark.case("R39")
def test_an_answer_that_was_cut_off_is_asked_for_again_in_parts(scene: Scene) -> None:
    values = pay_over(scene, 60)

    def cut(question: Json, said: Json) -> Json:
        if question["method"] == "eth_getLogs" and span(question) > 20:
            filler = {"blockNumber": "0x0"}
            return said | {"result": [*said["result"], *[filler] * 1000][:1000]}
        return said

    with provider(scene.evm.url, cut) as seen:
        scene.over(seen.url).settle()
    assert scene.counted() == sorted(values)


@pytest.mark.parametrize("form", ["one error", "HTTP 413"])
def test_a_limited_batch_is_learned(form: str, scene: Scene) -> None:
    values = pay_over(scene, 60)
    with provider(scene.evm.url) as seen:
        seen.batch_max = 7
        seen.batch_error = None if form == "HTTP 413" else (-32600, "batch of more than 7")
        scene.over(seen.url).settle()
    assert scene.counted() == sorted(values)


@pytest.mark.case("R40")
@pytest.mark.parametrize("change", [no_logs, no_block_receipts])
@pytest.mark.parametrize("blocks", [1, 30])
def test_logs_that_are_silently_missing_are_read_from_receipts(
    blocks: int, change: Callable[[Json, Json], Json], scene: Scene
) -> None:
    with provider(scene.evm.url, change) as seen:
        over = scene.over(seen.url)
        over.scan()
        scene.evm.pay(address=scene.to, value=5, token=scene.evm.usdt)
        scene.evm.mine(blocks - 1) if blocks > 1 else None
        over.scan()
        assert scene.counted() == [5]
        assert seen.asked["eth_getLogs"] > 0


@pytest.mark.case("R40")
def test_an_empty_bloom_does_not_hide_logs(scene: Scene) -> None:
    """Some networks leave the filter empty: it is asked only when logs are missing."""

    def blind(_question: Json, said: Json) -> Json:
        if isinstance(said.get("result"), dict) and "logsBloom" in said["result"]:
            said["result"]["logsBloom"] = "0x" + "00" * 256
        return said

    with provider(scene.evm.url, blind) as seen:
        scene.evm.pay(address=scene.to, value=5, token=scene.evm.usdt)
        scene.over(seen.url).settle()
    assert scene.counted() == [5]


def spoiled_block(question: Json, said: Json) -> Json:
    """R41 as it was seen: a block without transactions that has logs."""
    if question["method"].startswith("eth_getBlockBy") and said.get("result"):
        said["result"]["transactions"] = []
    return said


def spoiled_log_hash(question: Json, said: Json) -> Json:
    if question["method"] == "eth_getLogs":
        for entry in said["result"]:
            entry["blockHash"] = "0x" + "ab" * 32
    return said


def spoiled_log_value(question: Json, said: Json) -> Json:
    if question["method"] == "eth_getLogs":
        for entry in said["result"]:
            entry["data"] = "0x" + f"{10**12:064x}"
    return said


def spoiled_log_contract(question: Json, said: Json) -> Json:
    """Another token's log, dressed as a listed one's."""
    if question["method"] == "eth_getTransactionReceipt" and said.get("result"):
        for entry in said["result"]["logs"]:
            entry["address"] = "0x" + "cd" * 20
    return said


def spoiled_receipt(question: Json, said: Json) -> Json:
    if question["method"] == "eth_getTransactionReceipt" and said.get("result"):
        said["result"]["transactionHash"] = "0x" + "ef" * 32
    return said


def spoiled_traces(question: Json, said: Json) -> Json:
    return said | {"result": []} if question["method"] == "debug_traceBlockByHash" else said


@pytest.mark.case("R41")
@pytest.mark.parametrize(
    "change",
    [
        spoiled_block,
        spoiled_log_hash,
        spoiled_log_value,
        spoiled_log_contract,
        spoiled_receipt,
        spoiled_traces,
    ],
)
def test_answers_that_do_not_fit_each_other_are_rejected(
    change: Callable[[Json, Json], Json], scene: Scene
) -> None:
    with provider(scene.evm.url, change) as seen:
        over = scene.over(seen.url)
        scene.evm.pay(address=scene.to, value=5, token=scene.evm.usdt)
        with pytest.raises(NodeContradictionError):
            scan_network(network=over.network, node=over.nodes)
        assert scene.facts() == []
        # The next in the registry's order is asked, and knows better.
        pair = replace(scene.network, endpoints=(seen.url, scene.evm.url))
        nodes = node_for(pair)
        with pytest.raises(NodeContradictionError):
            scan_network(network=pair, node=nodes)
        assert scan_network(network=pair, node=nodes).caught_up
    assert scene.counted() == [5]


def spoiled_logs_twice(question: Json, said: Json) -> Json:
    return said | {"result": 2 * said["result"]} if question["method"] == "eth_getLogs" else said


def spoiled_time(question: Json, said: Json) -> Json:
    """A block of the year 36812."""
    if question["method"].startswith("eth_getBlockBy") and said.get("result"):
        said["result"]["timestamp"] = hex(2**40)
    return said


def spoiled_id(_question: Json, said: Json) -> Json:
    return said | {"id": [1]}


def spoiled_receipt_shape(question: Json, said: Json) -> Json:
    if question["method"] == "eth_getTransactionReceipt" and said.get("result"):
        del said["result"]["logs"]
    return said


def spoiled_tip(question: Json, said: Json) -> Json:
    return said | {"result": "0x" + "f" * 64} if question["method"] == "eth_blockNumber" else said


@pytest.mark.case("R20")
@pytest.mark.parametrize("place", [0, 1])
@pytest.mark.parametrize(
    "change",
    [spoiled_logs_twice, spoiled_time, spoiled_id, spoiled_receipt_shape, spoiled_tip],
)
def test_a_node_of_strange_answers_does_not_stop_the_others(
    change: Callable[[Json, Json], Json], place: int, scene: Scene
) -> None:
    scene.evm.pay(address=scene.to, value=5, token=scene.evm.usdt)
    with provider(scene.evm.url, change) as seen:
        urls = [scene.evm.url, seen.url]
        pair = replace(scene.network, endpoints=tuple(reversed(urls) if place == 0 else urls))
        nodes = node_for(pair)
        try:
            report = scan_network(network=pair, node=nodes)
        except NodeError:  # the strange one spoke: now the other does
            report = scan_network(network=pair, node=nodes)
        assert report.caught_up
        record_health(network=pair.caip2, endpoints=nodes.health)
        assert health_of(network=pair.caip2).is_up
    assert scene.counted() == [5]


@pytest.mark.case("R20")
def test_what_a_node_says_is_fit_to_be_stored_and_shown(scene: Scene) -> None:
    def rude(question: Json, said: Json) -> Json:
        if question["method"] == "eth_blockNumber":
            return refuse(question, -32000, "no\x00thing \x1b[2Jhere \u202e")
        return said

    with provider(scene.evm.url, rude) as seen:
        over = scene.over(seen.url)
        with pytest.raises(NodeUnavailableError):
            scan_network(network=over.network, node=over.nodes)
        record_health(network=over.network.caip2, endpoints=over.nodes.health)
    (endpoint,) = health_of(network=scene.network.caip2).endpoints
    assert not endpoint.is_up
    assert endpoint.last_error.isprintable()
    assert "no thing  [2Jhere" in endpoint.last_error


def test_a_node_that_asks_for_patience_is_left_alone_for_so_long(scene: Scene) -> None:
    with provider(scene.evm.url) as seen:
        over = scene.over(seen.url)
        over.scan()
        seen.status, seen.retry_after_s = 429, 77
        with pytest.raises(NodeUnavailableError, match="less often"):
            scan_network(network=over.network, node=over.nodes)
        (endpoint,) = over.nodes._endpoints
        assert endpoint.pause_s == 77
        assert endpoint.node is not None  # nothing is wrong with it: it need not connect again
        asked = sum(seen.asked.values())
        with pytest.raises(NodeUnavailableError, match="less often"):
            scan_network(network=over.network, node=over.nodes)
        assert sum(seen.asked.values()) == asked


@pytest.mark.parametrize(
    ("code", "words", "method"),
    [
        (-32005, "daily request count exceeded, request rate limited", "eth_getLogs"),
        (429, "Your app has exceeded its compute units per second capacity", "eth_getLogs"),
        (-32005, "limit exceeded", "eth_getBlockByNumber"),
    ],
)
def test_too_often_is_told_from_too_much(code: int, words: str, method: str, scene: Scene) -> None:
    seen: list[Provider] = []

    def busy(question: Json, said: Json) -> Json:
        return refuse(question, code, words) if question["method"] == method else said

    with provider(scene.evm.url, busy) as seen_by:
        seen.append(seen_by)
        over = scene.over(seen_by.url)
        scene.evm.mine(5)
        with pytest.raises(NodeUnavailableError, match="too often"):
            scan_network(network=over.network, node=over.nodes)
        # It was not taken for a range that is too wide, and asked for ever smaller ones.
        assert seen_by.asked[method] <= 6


def test_one_question_for_logs_serves_every_token(scene: Scene, networks: Devnet) -> None:
    with provider(scene.evm.url) as seen:
        over = scene.over(seen.url)
        over.scan()
        before = seen.asked.copy()
        scene.evm.pay(address=scene.to, value=5, token=scene.evm.usdt)
        over.scan()
        asked = seen.asked - before
    assert asked["eth_getLogs"] == 1
    assert asked["eth_getTransactionReceipt"] == 1
    assert asked["eth_getBlockReceipts"] == 0
    assert TRANSFER_TOPIC.hex().startswith("ddf252ad")


def test_a_limit_is_found_in_a_few_steps() -> None:
    for most in (1, 5, 33, 499, 500, 1_999):
        limit = LearnedLimit(2_000, start=500)
        refused = 0
        for _ in range(60):
            if limit.size > most:
                refused += 1
                limit.refuse(limit.size)
            else:
                limit.allow(limit.size)
        assert most * 0.9 - 1 <= limit.size <= most
        assert refused <= 14


@contextmanager
def server_that_says(status: int, body: bytes, **headers: str) -> Iterator[str]:
    """A server that gives one answer to every question."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name.replace("_", "-"), value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        @override
        def log_message(self, *_arguments: object) -> None:
            """Stay silent."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join()


@pytest.mark.case("R80")
@pytest.mark.parametrize("status", [302, 307, 308])
def test_a_node_sends_nobody_elsewhere(status: int, scene: Scene) -> None:
    with (
        provider(scene.evm.url) as inside,
        server_that_says(status, b"", Location=f"{inside.url}/admin") as url,
    ):
        rpc = EvmRpc(url=url, name="E", timeout_s=5)
        with pytest.raises(NodeUnavailableError, match="TooManyRedirects"):
            rpc.call("eth_chainId")
        assert not inside.asked


def test_an_answer_that_unpacks_without_end_is_none() -> None:
    """A quarter of a megabyte on the wire, and more than any honest answer in memory."""
    bomb = zlib.compressobj(9, wbits=31)
    blank = b" " * 1024 * 1024
    parts = [bomb.compress(blank) for _ in range(ANSWER_BYTES_MAX // len(blank) + 1)]
    body = b"".join([*parts, bomb.flush()])
    with server_that_says(200, body, Content_Encoding="gzip") as url:
        rpc = EvmRpc(url=url, name="E", timeout_s=30)
        with pytest.raises(NodeUnavailableError, match="EndlessAnswerError"):
            rpc.call("eth_chainId")
