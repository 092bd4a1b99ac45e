"""Exchanges over real HTTP: exact prices from each one's own shape, and all that is no price."""

from datetime import datetime, timedelta
from decimal import Decimal

import pytest

from settlement.clock import database_now
from settlement.rates.exchanges import Exchange
from settlement.rates.feeds import configured_feeds
from settlement.rates.observations import Answer
from tests.settlement.rates.market import Market, Way, ago
from tests.settlement.rates.shapes import SHAPES


def ask(name: str, *, now: datetime | None = None) -> Answer:
    entries = {one.name: one for one in configured_feeds().exchanges}
    return Exchange(entries[name], timeout_s=2).observe(now=now or database_now())


@pytest.mark.parametrize("name", SHAPES)
def test_every_digit_of_a_price_is_read(name: str, market: Market) -> None:
    digits = "95000.123456789012345677"
    market.ways[name] = Way(bid=digits, ask="95000.123456789012345679")
    answer = ask(name)
    assert not answer.refused
    assert {one.pair for one in answer.seen} == set(market.markets[name])
    assert {one.price for one in answer.seen} == {Decimal("95000.123456789012345678")}
    assert {one.source for one in answer.seen} == {name}


@pytest.mark.parametrize("name", SHAPES)
def test_the_time_is_the_exchanges_own_where_it_tells_one(name: str, market: Market) -> None:
    now = database_now()
    market.ways[name] = Way(at=now - timedelta(hours=1))
    (age,) = {now - one.observed_at for one in ask(name, now=now).seen}
    tells_none = name in {"kraken", "bybit", "bitfinex"}
    assert timedelta(0) <= age < timedelta(seconds=1) if tells_none else age > timedelta(minutes=59)


@pytest.mark.case("R67")
@pytest.mark.parametrize("price", ["0", "0.0", "-95000", "NaN", "Infinity", "-Infinity", "", "x"])
@pytest.mark.parametrize("name", sorted(set(SHAPES) - {"bitfinex"}))
def test_what_is_no_price_is_refused(name: str, price: str, market: Market) -> None:
    market.ways[name] = Way(price=price, bid=price or "x", ask=price or "x")
    answer = ask(name)
    assert not answer.is_usable
    assert len(answer.refused) == len(market.markets[name])


@pytest.mark.case("R67")
@pytest.mark.parametrize("bare", ["0", "-1.5", "NaN", "Infinity", "null", '"x"', "[]", "1e999999"])
def test_a_bare_number_that_is_no_price_is_refused(bare: str, market: Market) -> None:
    market.ways["bitfinex"] = Way(price=bare)
    assert not ask("bitfinex").is_usable


@pytest.mark.case("R67")
@pytest.mark.parametrize(
    ("bid", "ask_"),
    [("95001", "95000"), ("90000", "95000"), ("0", "95000"), ("95000", "0"), ("-1", "95000")],
)
def test_a_book_that_is_crossed_torn_or_half_empty_is_refused(
    bid: str, ask_: str, market: Market
) -> None:
    market.ways["okx"] = Way(bid=bid, ask=ask_, pairs=("BTC/USDT",))
    answer = ask("okx")
    assert [one.split(":")[0] for one in answer.refused] == ["BTC/USDT"]
    assert "BTC/USDT" not in {one.pair for one in answer.seen}
    assert len(answer.seen) == len(market.markets["okx"]) - 1


@pytest.mark.case("R67")
@pytest.mark.parametrize(("name", "other"), [("binance", "USDTBTC"), ("okx", "USDT-BTC")])
def test_the_ticker_of_another_market_is_refused(name: str, other: str, market: Market) -> None:
    market.ways[name] = Way(market=other, price="0.0000105", pairs=("BTC/USDT",))
    answer = ask(name)
    assert other in answer.refused[0]
    assert "BTC/USDT" not in {one.pair for one in answer.seen}


@pytest.mark.case("R67")
@pytest.mark.parametrize(
    "way",
    [
        Way(raw=b""),
        Way(raw=b"<html>maintenance</html>"),
        Way(raw=b"{}"),
        Way(raw=b"[]"),
        Way(raw=b"null"),
        Way(raw=b'{"result": null, "data": null, "error": []}'),
        Way(raw=b"\xff\xfe\x00"),
        Way(raw=b"[" * 100_000),
        Way(status=500, raw=b"oops"),
        Way(status=503, raw=b"{}"),
        Way(status=404, raw=b"{}"),
        Way(status=302, headers={"Location": "http://127.0.0.1:1/"}),
        Way(raw=b"{" + b" " * 5_000_000),
        Way(headers={"Content-Encoding": "gzip"}),
    ],
    ids=lambda way: f"{way.status} {(way.raw or b'')[:12]!r} {''.join(way.headers)}",
)
@pytest.mark.parametrize("name", SHAPES)
def test_garbage_errors_and_redirects_are_no_prices(name: str, way: Way, market: Market) -> None:
    market.ways[name] = way
    answer = ask(name)
    assert not answer.is_usable
    assert answer.refused
    assert all(len(one) < 250 for one in answer.refused)


@pytest.mark.case("R67")
@pytest.mark.parametrize("way", [Way(is_silent=True), Way(drips=True)], ids=["silent", "drips"])
def test_who_is_slow_is_left(way: Way, market: Market) -> None:
    market.ways["kraken"] = way
    answer = ask("kraken")
    assert not answer.is_usable
    assert "in time" in answer.refused[0]
    assert market.asked["kraken"] == 1


def test_nobody_there_is_no_price(market: Market) -> None:
    entry = next(one for one in configured_feeds().exchanges if one.name == "kraken")
    gone = type(entry)(
        name="kraken", markets=entry.markets, urls={"api": {"public": "http://127.0.0.1:1"}}
    )
    answer = Exchange(gone, timeout_s=2).observe(now=database_now())
    assert not answer.is_usable
    assert "no connection" in answer.refused[0]


@pytest.mark.parametrize(
    ("headers", "wait_s"),
    [
        ({"Retry-After": "120"}, 120),
        ({"Retry-After": "999999999999"}, 3600),
        ({"Retry-After": "soon"}, None),
        (
            {
                "Date": "Tue, 24 Nov 2026 12:00:00 GMT",
                "Retry-After": "Tue, 24 Nov 2026 12:05:00 GMT",
            },
            300,
        ),
    ],
)
@pytest.mark.parametrize("name", ["binance", "kraken", "bitstamp"])
def test_who_asks_for_a_pause_is_left_at_once(
    name: str, headers: dict[str, str], wait_s: int | None, market: Market
) -> None:
    market.ways[name] = Way(status=429, raw=b'{"error": "slow down"}', headers=headers)
    answer = ask(name)
    assert answer.retry_after_s == wait_s
    assert market.asked[name] == 1


@pytest.mark.case("R67")
def test_a_time_that_no_calendar_has_is_refused(market: Market) -> None:
    market.ways["okx"] = Way(
        raw=b'{"code":"0","msg":"","data":[{"instId":"BTC-USDT","last":"1","bidPx":"1","askPx":"1",'
        b'"ts":"999999999999999999999"}]}'
    )
    assert not ask("okx").is_usable


def test_a_stale_price_keeps_its_age(market: Market) -> None:
    market.ways["bitstamp"] = Way(at=ago(900))
    (one, *_) = ask("bitstamp").seen
    assert one.fetched_at - one.observed_at > timedelta(minutes=14)
