"""A provider of the tests' own: passes questions to a real node and changes some answers."""

import json
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import requests
from typing_extensions import override

Json = dict[str, Any]
Change = Callable[[Json, Json], Json]
"""From a question and the node's answer to the answer that is sent."""


class Provider:
    """A running provider; ``asked`` counts questions by method, each of a batch for itself."""

    def __init__(self, change: Change) -> None:
        self.change, self.url = change, ""
        self.asked: Counter[str] = Counter()
        self.status = 200
        """What HTTP answers all questions with."""
        self.retry_after_s: int | None = None
        self.batch_max: int | None = None
        """How many questions one message may hold; more are refused as ``batch_error`` says."""
        self.batch_error: tuple[int, str] | None = None

    def answer(self, asked: Any, upstream: str) -> tuple[int, Any]:  # noqa: ANN401 -- JSON
        """HTTP status and body of the answer to one question or to a list of them."""
        questions = asked if isinstance(asked, list) else [asked]
        self.asked.update(one["method"] for one in questions)
        if self.batch_max is not None and len(questions) > self.batch_max:
            if self.batch_error is None:
                return 413, {}
            return 200, refuse({"id": None}, *self.batch_error)
        said = requests.post(upstream, json=questions, timeout=60).json()
        by_id = {one["id"]: one for one in said}
        answers = [self.change(one, by_id[one["id"]]) for one in questions]
        return self.status, answers if isinstance(asked, list) else answers[0]


def refuse(question: Json, code: int, message: str) -> Json:
    """A JSON-RPC error in answer to a question."""
    return {"jsonrpc": "2.0", "id": question["id"], "error": {"code": code, "message": message}}


@contextmanager
def provider(upstream: str, change: Change = lambda _question, said: said) -> Iterator[Provider]:
    """Run a provider on loopback before the node ``upstream``."""
    running = Provider(change)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            raw = self.rfile.read(int(self.headers["Content-Length"]))
            status, answer = running.answer(json.loads(raw), upstream)
            body = json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            if running.retry_after_s is not None:
                self.send_header("Retry-After", str(running.retry_after_s))
            self.end_headers()
            self.wfile.write(body)

        @override
        def log_message(self, *_arguments: object) -> None:
            """Stay silent."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    running.url = f"http://127.0.0.1:{server.server_address[1]}"
    try:
        yield running
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
