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
        """What HTTP answers with; any other than 200 goes to all questions."""


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
            asked = json.loads(raw)
            questions = asked if isinstance(asked, list) else [asked]
            running.asked.update(one["method"] for one in questions)
            said = requests.post(upstream, json=questions, timeout=60).json()
            by_id = {one["id"]: one for one in said}
            answers = [running.change(one, by_id[one["id"]]) for one in questions]
            body = json.dumps(answers if isinstance(asked, list) else answers[0]).encode()
            self.send_response(running.status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
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
