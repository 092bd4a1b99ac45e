"""A proxy between the scanner and a real node that breaks answers by a seed.

Every fault is one that providers were seen to commit: slow, cut and half answers, yesterday's
answer, another question's answer, no logs where there are some, and refusals.
"""

import json
import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

import requests
from typing_extensions import override

NODE_S_MAX = 30
Answers = list[dict[str, Any]]


class FaultProxy:
    """Forwards JSON-RPC to ``upstream``; while ``share`` is above zero, breaks that part of it."""

    def __init__(self, upstream: str, *, seed: int) -> None:
        self.upstream, self.share = upstream, 0.0
        self.happened: Counter[str] = Counter()
        self._random = random.Random(seed)  # noqa: S311 -- a schedule, no secret
        self._lock = threading.Lock()
        self._earlier: dict[str, Any] = {}
        self._last: bytes = b"[]"
        self.url = ""

    def choose(self) -> str:
        """The fault of the next answer; empty for none."""
        with self._lock:
            if self._random.random() >= self.share:
                return ""
            fault = self._random.choice(FAULTS)
            self.happened[fault] += 1
            return fault

    def remember(self, asked: Answers, said: Answers) -> None:
        """Keep the first answer to each question: one day it will be yesterday's."""
        with self._lock:
            for question, answer in zip(asked, said, strict=False):
                key = json.dumps([question["method"], question.get("params")])
                self._earlier.setdefault(key, answer.get("result"))

    def earlier(self, question: dict[str, Any]) -> Any:  # noqa: ANN401 -- JSON
        """What the same question was answered with the first time."""
        key = json.dumps([question["method"], question.get("params")])
        with self._lock:
            return self._earlier.get(key)

    def swap_last(self, body: bytes) -> bytes:
        """The answer before this one."""
        with self._lock:
            last, self._last = self._last, body
            return last


def _stale(proxy: FaultProxy, asked: Answers, said: Answers) -> Answers:
    return [
        answer | {"result": proxy.earlier(question) or answer.get("result")}
        for question, answer in zip(asked, said, strict=False)
    ]


def _wrong_id(_proxy: FaultProxy, _asked: Answers, said: Answers) -> Answers:
    return [answer | {"id": 987_654} for answer in said]


def _no_logs(_proxy: FaultProxy, asked: Answers, said: Answers) -> Answers:
    return [
        answer | {"result": []} if question["method"] == "eth_getLogs" else answer
        for question, answer in zip(asked, said, strict=False)
    ]


def _no_result(_proxy: FaultProxy, _asked: Answers, said: Answers) -> Answers:
    return [answer | {"result": None} for answer in said]


def _refused(_proxy: FaultProxy, asked: Answers, _said: Answers) -> Answers:
    error = {"code": -32005, "message": "limit exceeded"}
    return [{"jsonrpc": "2.0", "id": one["id"], "error": error} for one in asked]


CHANGES: dict[str, Callable[[FaultProxy, Answers, Answers], Answers]] = {
    "stale": _stale,
    "wrong id": _wrong_id,
    "empty logs": _no_logs,
    "no result": _no_result,
    "refused": _refused,
}
STATUSES = {"too many": 429, "unavailable": 503, "unauthorised": 401}
FAULTS = [*CHANGES, *STATUSES, "delay", "cut", "truncate", "duplicate", "not json"]


@contextmanager
def fault_proxy(upstream: str, *, seed: int) -> Iterator[FaultProxy]:
    """Run a proxy on loopback; ``url`` is where it answers, with the upstream's credentials."""
    proxy = FaultProxy(upstream, seed=seed)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            _forward(self, proxy)

        @override
        def log_message(self, *_arguments: object) -> None:
            """Stay silent."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    parts = urlsplit(upstream)
    credentials = parts.netloc.rpartition("@")[0]
    place = f"127.0.0.1:{server.server_address[1]}"
    proxy.url = f"http://{credentials}@{place}" if credentials else f"http://{place}"
    try:
        yield proxy
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _forward(handler: BaseHTTPRequestHandler, proxy: FaultProxy) -> None:
    raw = handler.rfile.read(int(handler.headers["Content-Length"]))
    asked = json.loads(raw)
    fault = proxy.choose()
    if fault in STATUSES:
        _send(handler, STATUSES[fault], b"try later")
        return
    headers = {"Content-Type": "application/json"}
    if "Authorization" in handler.headers:
        headers["Authorization"] = handler.headers["Authorization"]
    parts = urlsplit(proxy.upstream)
    target = f"http://{parts.hostname}:{parts.port}"
    answer = requests.post(target, data=raw, headers=headers, timeout=NODE_S_MAX)
    body = _broken(proxy, fault, asked, answer.content)
    if fault == "cut":
        handler.close_connection = True
        return
    if fault == "delay":
        time.sleep(0.05)
    _send(handler, answer.status_code, body, whole=fault != "truncate")


def _broken(proxy: FaultProxy, fault: str, asked: Any, body: bytes) -> bytes:  # noqa: ANN401 -- JSON
    before = proxy.swap_last(body)
    if fault == "duplicate":
        return before
    if fault == "not json":
        return b"<html>Bad gateway</html>"
    said = json.loads(body)
    alone = isinstance(asked, dict)
    questions, answers = ([asked], [said]) if alone else (asked, said)
    proxy.remember(questions, answers)
    if fault in CHANGES:
        answers = CHANGES[fault](proxy, questions, answers)
        return json.dumps(answers[0] if alone else answers).encode()
    return body


def _send(handler: BaseHTTPRequestHandler, status: int, body: bytes, *, whole: bool = True) -> None:
    handler.send_response(status)
    handler.send_header("Content-Type", "application/json")
    handler.send_header("Content-Length", str(len(body)))
    handler.end_headers()
    handler.wfile.write(body if whole else body[: len(body) // 2])
    handler.close_connection = handler.close_connection or not whole
