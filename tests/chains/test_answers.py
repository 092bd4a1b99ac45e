"""A node that answers byte by byte holds no thread for ever, on either kind of network."""

import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

import pytest

from chains import answers
from chains.bitcoin.rpc import BitcoinRpc
from chains.evm.rpc import EvmRpc
from chains.nodes import NodeUnavailableError

PATIENCE_S: Final = 0.2
"""For one read; a whole answer gets six times as long."""
PAUSE_S: Final = 0.05
BYTES: Final = 200
"""Ten seconds of dripping: whoever waits for the end gets a good answer."""

RPCS: Final = {"bitcoin": BitcoinRpc, "evm": EvmRpc}
Way = Callable[[bytes], tuple[bytes, bytes, bytes]]


def drips_head(body: bytes) -> tuple[bytes, bytes, bytes]:
    end = f"\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body
    return b"HTTP/1.1 200 OK\r\nX-Slow: ", b"x" * BYTES, end


def drips_body(body: bytes) -> tuple[bytes, bytes, bytes]:
    head = f"HTTP/1.1 200 OK\r\nContent-Length: {BYTES + len(body)}\r\n\r\n".encode()
    return head, b" " * BYTES, body


def drips_chunk(body: bytes) -> tuple[bytes, bytes, bytes]:
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    size = BYTES + len(body)
    return head + f"{size:x}\r\n".encode(), b" " * BYTES, body + b"\r\n0\r\n\r\n"


def drips_until_it_closes(body: bytes) -> tuple[bytes, bytes, bytes]:
    return b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n", b" " * BYTES, body


WAYS: Final = (drips_head, drips_body, drips_chunk, drips_until_it_closes)


def _question(connection: socket.socket) -> bytes:
    read = b""
    while b"\r\n\r\n" not in read:
        read += connection.recv(65536)
    head, _, body = read.partition(b"\r\n\r\n")
    lines = (line.split(b":") for line in head.lower().split(b"\r\n"))
    size = next(int(line[1]) for line in lines if line[0] == b"content-length")
    while len(body) < size:
        body += connection.recv(65536)
    return body


def _answer(question: bytes) -> bytes:
    asked = json.loads(question)
    rows = asked if isinstance(asked, list) else [asked]
    said = [{"jsonrpc": "2.0", "id": one["id"], "result": 7, "error": None} for one in rows]
    return json.dumps(said if isinstance(asked, list) else said[0]).encode()


@contextmanager
def node_that_drips(way: Way, *, pause_s: float) -> Iterator[str]:
    """A server that answers its first question byte by byte, and every later one at once."""
    server = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        pause = pause_s
        while True:
            try:
                connection, _peer = server.accept()
            except OSError:
                return
            with connection:
                start, middle, end = way(_answer(_question(connection)))
                try:
                    connection.sendall(start)
                    for byte in middle:
                        connection.sendall(bytes([byte]))
                        time.sleep(pause)
                    connection.sendall(end)
                except OSError:
                    pass  # nobody waits for the rest
            pause = 0

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield f"http://user:hunter2@127.0.0.1:{server.getsockname()[1]}"
    finally:
        server.shutdown(socket.SHUT_RDWR)
        server.close()
        thread.join()


@pytest.mark.case("R20")
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("kind", RPCS)
def test_a_node_that_drips_is_left(kind: str, way: Way) -> None:
    with node_that_drips(way, pause_s=PAUSE_S) as url:
        rpc = RPCS[kind](url=url, name="Town", timeout_s=PATIENCE_S)
        with pytest.raises(NodeUnavailableError, match="endpoints in NETWORKS_FILE") as left:
            rpc.call("getblockcount")
        assert "hunter2" not in str(left.value)
        assert rpc.call("getblockcount") == 7


@pytest.mark.case("R20")
@pytest.mark.parametrize("kind", RPCS)
def test_a_slow_answer_within_its_time_is_taken(kind: str) -> None:
    with node_that_drips(drips_body, pause_s=PAUSE_S / 10) as url:
        rpc = RPCS[kind](url=url, name="Town", timeout_s=10 * PATIENCE_S)
        assert rpc.call("getblockcount") == 7


@pytest.mark.case("R20")
@pytest.mark.parametrize("kind", RPCS)
def test_an_answer_without_end_is_not_read_to_it(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(answers, "ANSWER_BYTES_MAX", BYTES // 2)
    with node_that_drips(drips_body, pause_s=0.001) as url:
        rpc = RPCS[kind](url=url, name="Town", timeout_s=10 * PATIENCE_S)
        with pytest.raises(NodeUnavailableError):
            rpc.call("getblockcount")
