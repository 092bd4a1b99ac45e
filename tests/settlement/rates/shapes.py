"""Answers in the shapes that each source documents; prices, times and markets are the test's.

Field names and order follow the exchanges' own REST references (Binance 24hr ticker, OKX and Bybit
v5 tickers, Kraken Ticker, Bitstamp ticker, Coinbase Exchange product ticker, Bitfinex v2 ticker)
and the National Bank's ``get_rates.cfm``.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final


@dataclass(frozen=True, kw_only=True)
class Book:
    """What a market says: texts, as they stand in the answer."""

    bid: str
    ask: str
    last: str
    market: str
    at: datetime

    @property
    def at_ms(self) -> int:
        return int((self.at - datetime(1970, 1, 1, tzinfo=UTC)).total_seconds()) * 1000


def binance(book: Book) -> str:
    return json.dumps(
        {
            "symbol": book.market,
            "priceChange": "-188.18000000",
            "priceChangePercent": "-0.159",
            "weightedAvgPrice": book.last,
            "prevClosePrice": book.last,
            "lastPrice": book.last,
            "lastQty": "0.00731000",
            "bidPrice": book.bid,
            "bidQty": "7.15931000",
            "askPrice": book.ask,
            "askQty": "0.09592000",
            "openPrice": book.last,
            "highPrice": book.last,
            "lowPrice": book.last,
            "volume": "14741.41491000",
            "quoteVolume": "1744744445.80640740",
            "openTime": book.at_ms - 86_400_000,
            "closeTime": book.at_ms,
            "firstId": 5116031635,
            "lastId": 5117964946,
            "count": 1933312,
        }
    )


def okx(book: Book) -> str:
    ticker = {
        "instType": "SPOT",
        "instId": book.market,
        "last": book.last,
        "lastSz": "0.044378",
        "askPx": book.ask,
        "askSz": "4.2",
        "bidPx": book.bid,
        "bidSz": "6.050058",
        "open24h": book.last,
        "high24h": book.last,
        "low24h": book.last,
        "volCcy24h": "11788.887619",
        "vol24h": "167493.829229",
        "ts": str(book.at_ms),
        "sodUtc0": book.last,
        "sodUtc8": book.last,
    }
    return json.dumps({"code": "0", "msg": "", "data": [ticker]})


def bybit(book: Book) -> str:
    ticker = {
        "symbol": book.market,
        "bid1Price": book.bid,
        "bid1Size": "2",
        "ask1Price": book.ask,
        "ask1Size": "1.862172",
        "lastPrice": book.last,
        "prevPrice24h": book.last,
        "price24hPcnt": "0.0068",
        "highPrice24h": book.last,
        "lowPrice24h": book.last,
        "turnover24h": "243765620.65899866",
        "volume24h": "11801.27771",
        "usdIndexPrice": "20784.12009279",
    }
    result = {"category": "spot", "list": [ticker]}
    return json.dumps({"retCode": 0, "retMsg": "OK", "result": result, "time": book.at_ms})


def kraken(book: Book) -> str:
    ticker = {
        "a": [book.ask, "1", "1.000"],
        "b": [book.bid, "2", "2.000"],
        "c": [book.last, "0.04408910"],
        "v": ["4147.94474901", "8896.96086304"],
        "p": [book.last, book.last],
        "t": [3907, 10056],
        "l": [book.last, book.last],
        "h": [book.last, book.last],
        "o": book.last,
    }
    return json.dumps({"error": [], "result": {book.market: ticker}})


def bitstamp(book: Book) -> str:
    return json.dumps(
        {
            "timestamp": str(book.at_ms // 1000),
            "open": book.last,
            "high": book.last,
            "low": book.last,
            "last": book.last,
            "volume": "3563.13819902",
            "vwap": book.last,
            "bid": book.bid,
            "ask": book.ask,
            "side": "0",
            "open_24": book.last,
            "percent_change_24": "1.24",
            "market_type": "SPOT",
        }
    )


def coinbaseexchange(book: Book) -> str:
    return json.dumps(
        {
            "ask": book.ask,
            "bid": book.bid,
            "volume": "1903188.03750000",
            "trade_id": 843439,
            "price": book.last,
            "size": "80.29769",
            "time": f"{book.at:%Y-%m-%dT%H:%M:%S}.033012Z",
            "rfq_volume": "12.1",
        }
    )


def bitfinex(book: Book) -> str:
    """The numbers stand in it bare, with every digit that they have."""
    fields = (book.bid, "38.25", book.ask, "27.6", "-188.1", "-0.0015", book.last, "9016.4")
    return f"[{','.join((*fields, book.last, book.last))}]"


SHAPES: Final[dict[str, Callable[[Book], str]]] = {
    "binance": binance,
    "okx": okx,
    "bybit": bybit,
    "kraken": kraken,
    "bitstamp": bitstamp,
    "coinbaseexchange": coinbaseexchange,
    "bitfinex": bitfinex,
}
BASES: Final[dict[str, dict[str, object]]] = {
    "binance": {"public": "{url}/binance/api/v3"},
    "okx": {"rest": "{url}/okx"},
    "bybit": {"public": "{url}/bybit"},
    "kraken": {"public": "{url}/kraken"},
    "bitstamp": {"public": "{url}/bitstamp/api"},
    "coinbaseexchange": {"public": "{url}/coinbaseexchange"},
    "bitfinex": {"public": "{url}/bitfinex"},
}
"""Where ccxt is told to find each exchange's public questions."""


def national_bank(date: str, rates: dict[str, tuple[str, str]]) -> str:
    """``rates`` are (description, quant) by currency; none is an empty day."""
    items = "".join(
        f"<item><fullname>{code}</fullname><title>{code}</title>"
        f"<description>{tenge}</description><quant>{quant}</quant>"
        f"<index>UP</index><change>+0.51</change></item>"
        for code, (tenge, quant) in rates.items()
    )
    return (
        '<?xml version="1.0" encoding="utf-8"?><rates>'
        "<generator>Alternate RSS Builder</generator>"
        "<title>Official exchange rates of National Bank of Republic Kazakhstan</title>"
        "<link>www.nationalbank.kz</link><description>Official exchange rates</description>"
        f"<copyright>ҚҰБ</copyright><date>{date}</date>{items}</rates>"
    )
