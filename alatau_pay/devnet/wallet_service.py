"""The resident's wallet behind a loopback address, for the checkout page's test button."""

import json
import secrets
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from typing_extensions import override

from alatau_pay.devnet.wallet import ResidentWallet

BODY_BYTES_MAX = 4096


@contextmanager
def serve_wallet(wallet: ResidentWallet) -> Iterator[str]:
    """Serve ``POST {"uri": …}`` -> ``{"txid": …}`` on 127.0.0.1; yields the secret URL.

    A URI is paid once, and asking again answers the same txid: a double click pays no second time.
    """
    path = f"/{secrets.token_urlsafe(16)}"
    one_at_a_time, paid = threading.Lock(), dict[str, str]()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            length = int(self.headers.get("Content-Length", 0))
            if self.path != path or length > BODY_BYTES_MAX:
                self.send_error(404)
                return
            try:
                uri = json.loads(self.rfile.read(length))["uri"]
                with one_at_a_time:
                    if uri not in paid:
                        paid[uri] = wallet.pay(uri)
                answer = {"txid": paid[uri]}
            except Exception as error:  # noqa: BLE001 -- the page shows whatever went wrong
                self.send_error(400, explain=str(error))
                return
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.end_headers()
            self.wfile.write(json.dumps(answer).encode())

        @override
        def log_message(self, *_arguments: object) -> None:
            """Stay silent: the demo says what happens."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}{path}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
