"""The world outside on loopback: a server that replays every source, and misbehaves when told."""

import json
import re
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Final
from urllib.parse import parse_qs, urlsplit

from typing_extensions import override

from settlement.rates.feeds import DEFAULT_FILE
from tests.settlement.rates.shapes import BASES, SHAPES, Book, national_bank

PRICES: Final = {
    "BTC/USDT": "95000",
    "BTC/USD": "94905",
    "ETH/USDT": "3200",
    "ETH/USD": "3196.8",
    "USDC/USDT": "1.0002",
    "USDC/USD": "0.9992",
    "USDT/USD": "0.999",
    "BNB/USDT": "900",
    "BNB/USD": "899.1",
    "POL/USDT": "0.5",
    "POL/USD": "0.4995",
}
DRIPS_S: Final = 0.05


@dataclass
class Way:
    """How one source answers from now on; ``None`` is as it should."""

    price: str | None = None
    bid: str | None = None
    ask: str | None = None
    market: str | None = None
    at: datetime | None = None
    raw: bytes | None = None
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    is_silent: bool = False
    drips: bool = False
    pairs: tuple[str, ...] = ()
    """Those that are meant; none means all."""


class Market:
    """Every source at once; ``asked`` counts questions by source."""

    def __init__(self) -> None:
        self.url = ""
        self.prices = dict(PRICES)
        self.ways: dict[str, Way] = {}
        self.asked: Counter[str] = Counter()
        self.paths: list[str] = []
        self.documents: dict[str, str | bytes] = {}
        self.is_over = threading.Event()
        entries = json.loads(DEFAULT_FILE.read_text())["exchanges"]
        self.markets = {one["name"]: one["markets"] for one in entries}

    def write_feeds(self, path: Path, *, exchanges: tuple[str, ...] = tuple(SHAPES)) -> None:
        """Write a file of feeds that names these exchanges here, each with its default markets."""
        listed = [
            {
                "name": name,
                "markets": self.markets[name],
                "urls": {"api": {key: at.format(url=self.url) for key, at in BASES[name].items()}},
            }
            for name in exchanges
        ]
        bank = {"url": f"{self.url}/national_bank/rss/get_rates.cfm"}
        path.write_text(json.dumps({"exchanges": listed, "national_bank": bank}))

    def publish(self, day: str, usd: str, quant: str = "1") -> None:
        """Let the National Bank have a document for a day (DD.MM.YYYY)."""
        rates = {"USD": (usd, quant), "UZS": ("3.95", "100"), "EUR": ("512.34", "1")}
        self.documents[day] = national_bank(day, rates)

    def answer(self, path: str) -> tuple[int, dict[str, str], bytes, Way]:
        """Status, headers and body for one question, and the way it is sent."""
        source = path.split("/")[1]
        self.asked[source] += 1
        self.paths.append(path)
        way = self.ways.get(source, Way())
        if source == "national_bank":
            day = parse_qs(urlsplit(path).query)["fdate"][0]
            document = self.documents.get(day, national_bank(day, {}))
            body = document if isinstance(document, bytes) else document.encode()
        else:
            pair = self._pair(source, path)
            if way.pairs and pair not in way.pairs:
                way = Way()
            body = SHAPES[source](self._book(source, pair, way)).encode()
        return way.status, way.headers, body if way.raw is None else way.raw, way

    def _pair(self, source: str, path: str) -> str:
        ids = {market_id: pair for pair, market_id in self.markets[source].items()}
        words = re.split(r"[/?&=]", path)
        return next(ids[word] for word in words if word in ids)

    def _book(self, source: str, pair: str, way: Way) -> Book:
        price = way.price or self.prices[pair]
        return Book(
            bid=way.bid or price,
            ask=way.ask or price,
            last=price,
            market=way.market or self.markets[source][pair],
            at=way.at or datetime.now(UTC),
        )


class _Handler(BaseHTTPRequestHandler):
    """Answers for the market of its server."""

    protocol_version = "HTTP/1.1"
    market: Market

    def do_GET(self) -> None:
        status, headers, body, way = self.market.answer(self.path)
        if way.is_silent:
            self.market.is_over.wait()
            return
        self.send_response(status)
        for name, value in ({"Content-Length": str(len(body))} | headers).items():
            self.send_header(name, value)
        self.end_headers()
        step = 1 if way.drips else len(body) or 1
        for at in range(0, len(body), step):
            if way.drips and self.market.is_over.wait(DRIPS_S):
                return
            self.wfile.write(body[at : at + step])
            self.wfile.flush()

    @override
    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""

    @override
    def handle(self) -> None:
        with suppress(ConnectionError):
            super().handle()


@contextmanager
def open_market() -> Iterator[Market]:
    """Serve every source on loopback."""
    market = Market()
    handler = type("Handler", (_Handler,), {"market": market})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    market.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield market
    finally:
        market.is_over.set()
        server.shutdown()
        thread.join()
        server.server_close()


def ago(seconds: int) -> datetime:
    """A moment in the past (or future, if negative)."""
    return datetime.now(UTC) - timedelta(seconds=seconds)
