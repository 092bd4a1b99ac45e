"""From the markets to a locked quote, over real HTTP and the real database."""

import json
import threading
from collections.abc import Callable
from datetime import timedelta
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
import time_machine
from django.core.management import CommandError, call_command
from django.db import IntegrityError, ProgrammingError, connection, transaction
from django.utils import translation
from pytest_django import DjangoAssertNumQueries
from pytest_django.fixtures import Settings

from chains.assets import Asset
from settlement.clock import database_now
from settlement.models import CombinedRate, Observation, OfficialRates, Quote, SourceAttempt
from settlement.rates.breakers import BreakerState
from settlement.rates.combining import Refusal
from settlement.rates.national_bank import NAME
from settlement.rates.observing import breakers, due_sources, observe_source
from settlement.rates.provenance import provenances_of
from settlement.rates.quoting import QuoteFact, lock_quotes
from settlement.rates.rating import combine_rates, standing_rates
from settlement.rates.sources import MarketSource, RateUnavailableError, configured_source
from tests.settlement.demand import BTC, ETH, USDT
from tests.settlement.rates.conftest import day_of, names, observe_all
from tests.settlement.rates.market import Market, Way, ago

FACTS = [Observation, OfficialRates, SourceAttempt, CombinedRate]
USD_KZT = Fraction("474.2")
TETHER = Fraction("0.999")
BTC_KZT = Fraction(95_000) * TETHER * USD_KZT


def price_of(symbol: str = "BTC") -> Decimal | None:
    standing = standing_rates(now=database_now()).get(f"{symbol}/KZT")
    return standing.price if standing else None


def refusal_of(pair: str = "BTC/KZT") -> Refusal | None:
    return standing_rates(now=database_now())[pair].refusal


def lock(*assets: Asset) -> list[QuoteFact]:
    return lock_quotes(
        amount_tiyn=450_000,
        assets=assets or [BTC],
        expires_at=database_now() + timedelta(minutes=15),
        source=configured_source(),
    )


def test_every_market_makes_a_quote(market: Market) -> None:
    observe_all()
    assert price_of() == Decimal(BTC_KZT.numerator) / BTC_KZT.denominator
    assert price_of("USDT") == Decimal("473.7258")
    assert set(standing_rates(now=database_now())) == {
        "USDT/USD",
        *(f"{symbol}/KZT" for symbol in ("BTC", "ETH", "BNB", "POL", "USDC", "USDT")),
    }
    facts = lock(BTC, ETH, USDT)
    assert [one.price_tiyn for one in facts] == [
        price * 100 for price in (price_of(), price_of("ETH"), price_of("USDT")) if price
    ]


def test_quoting_asks_nobody(
    market: Market, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    observe_all()
    asked = market.asked.total()
    with django_assert_num_queries(6):
        lock(BTC, ETH, USDT)
    assert market.asked.total() == asked


@pytest.mark.case("R67")
@pytest.mark.parametrize(
    "way",
    [
        Way(price="950000"),
        Way(price="9500"),
        Way(price="0.0000105"),
        Way(price="0"),
        Way(price="-95000"),
        Way(price="NaN"),
        Way(at=ago(600)),
        Way(at=ago(-600)),
        Way(status=500),
        Way(status=302, headers={"Location": "/"}),
        Way(raw=b"<html>"),
    ],
    ids=lambda way: f"{way.price} {way.status} {way.raw!r}",
)
def test_one_source_that_misbehaves_moves_no_price(way: Way, market: Market) -> None:
    market.ways["binance"] = way
    market.ways["okx"] = Way(is_silent=True)
    observe_all()
    assert price_of() == Decimal(BTC_KZT.numerator) / BTC_KZT.denominator
    (row,) = CombinedRate.objects.filter(pair="BTC/KZT")
    counts = {one["source"] for one in row.provenance["sources"] if one["counts"]}
    assert counts == {*names()} - {"binance", "okx"}


@pytest.mark.case("R67")
def test_fewer_than_three_sources_are_refused(market: Market, settings: Settings) -> None:
    settings.RATE_SOURCES_MIN = 1
    for name in names()[:5]:
        market.ways[name] = Way(status=500)
    for source in due_sources():
        observe_source(source)
    # Sources without https are refused outside a devnet, but these were read before.
    settings.DEVNET = False
    combine_rates()
    assert refusal_of() is Refusal.TOO_FEW
    with pytest.raises(RateUnavailableError, match=r"BTC: too_few"):
        lock()
    assert not Quote.objects.exists()


@pytest.mark.case("R67")
def test_the_last_good_rate_stands_for_a_bounded_time(market: Market, settings: Settings) -> None:
    observe_all()
    good = price_of()
    for name in names():
        market.ways[name] = Way(is_silent=True)
    settings.RATE_TIMEOUT_S = 1
    settings.RATE_AGE_S_MAX = 0
    observe_all()
    assert refusal_of() is Refusal.TOO_FEW
    assert price_of() == good
    assert lock()
    settings.RATE_LAST_GOOD_S = 0
    with pytest.raises(RateUnavailableError, match="nothing combined lately"):
        lock()


@pytest.mark.case("R67")
def test_a_jump_that_all_agree_on_is_refused_at_once_and_believed_later(
    market: Market, settings: Settings
) -> None:
    observe_all()
    market.prices |= {"BTC/USDT": "80000", "BTC/USD": "79920"}
    observe_all()
    assert refusal_of() is Refusal.JUMP
    with pytest.raises(RateUnavailableError, match="BTC: jump"):
        lock()
    assert lock(BTC, ETH)[0].asset == ETH.caip19
    settings.RATE_JUMP_WINDOW_S = 0
    observe_all()
    assert price_of() == Decimal(37898064)


@pytest.mark.case("R68")
def test_a_depeg_is_measured(market: Market) -> None:
    market.prices["USDT/USD"] = "0.92"
    market.prices |= {"BTC/USDT": "103152.1739", "ETH/USDT": "3474.7826"}
    observe_all()
    assert price_of("USDT") == Decimal("436.264")
    btc = price_of()
    assert btc is not None
    assert abs(btc - 95_000 * Decimal("0.999") * Decimal("474.2")) < 50_000


@pytest.mark.case("R68")
def test_usdt_that_nobody_measures_has_no_price(market: Market) -> None:
    for name in ("kraken", "bitstamp", "coinbaseexchange", "bitfinex"):
        market.ways[name] = Way(price="0", pairs=("USDT/USD",))
    observe_all()
    assert price_of("USDT") is None
    assert refusal_of("USDT/KZT") is Refusal.TOO_FEW
    assert price_of() == Decimal(45003951)


@pytest.mark.case("R69")
def test_no_official_rate_is_no_rate(market: Market) -> None:
    market.documents.clear()
    observe_all()
    assert refusal_of() is Refusal.NO_OFFICIAL_RATE
    with pytest.raises(RateUnavailableError, match="no_official_rate"):
        lock()


@pytest.mark.case("R69")
def test_a_weekend_goes_by_the_last_official_rate(market: Market) -> None:
    market.documents.clear()
    market.publish(day_of(3), "480")
    observe_all()
    assert price_of("USDT") == Decimal("479.52")
    (fact,) = lock()
    official = provenances_of([fact.id])[fact.id].official
    assert official is not None
    assert f"{official.effective_on:%d.%m.%Y}" == day_of(3)


@pytest.mark.case("R69")
@pytest.mark.case("R70")
def test_a_quote_keeps_where_its_price_came_from(market: Market, settings: Settings) -> None:
    settings.RATE_SPREAD_BP = 50
    market.ways["binance"] = Way(price="950000", pairs=("BTC/USDT",))
    observe_all()
    (fact,) = lock()
    kept = provenances_of([fact.id])[fact.id]
    assert kept.source == "market"
    assert kept.tenge == price_of()
    assert kept.spread_bp == 50
    assert fact.price_tiyn == kept.price_tiyn == kept.tenge * 100 * Decimal("0.995")
    assert kept.tether_usd == Decimal("0.999")
    assert kept.official is not None
    assert kept.official.tenge == Decimal("474.2")
    assert kept.combined_at is not None
    assert {one.source for one in kept.sources} == set(names())
    assert [one.source for one in kept.sources if not one.counts] == ["binance"]
    assert {one.worth for one in kept.sources if one.counts} == {kept.tenge}
    assert all(one.observed_at <= kept.locked_at for one in kept.sources)


@pytest.mark.case("R70")
def test_the_facts_of_rates_never_change(market: Market) -> None:
    observe_all()
    for model in FACTS:
        assert model.objects.exists()
        for change in CHANGES:
            with pytest.raises(ProgrammingError, match="permission denied"), transaction.atomic():
                run(change, model._meta.db_table)
    run("SET ROLE NONE")
    for model in FACTS:
        for change in CHANGES:
            with pytest.raises(IntegrityError, match="refused"), transaction.atomic():
                run(change, model._meta.db_table)


CHANGES = ["UPDATE {} SET id = id", "DELETE FROM {}", "TRUNCATE {}"]


def run(statement: str, table: str = "") -> None:
    with connection.cursor() as cursor:
        cursor.execute(statement.format(table))


@pytest.mark.case("R67")
@pytest.mark.parametrize(
    ("price", "refusal"), [("0", ""), ("-1", ""), (None, ""), ("NaN", ""), ("5", "jump")]
)
def test_the_database_holds_no_rate_that_is_none(
    price: str | None, refusal: str, market: Market
) -> None:
    insert = (
        "INSERT INTO settlement_combinedrate"
        " (pair, provenance, observed_at, combined_at, price, refusal)"
        " VALUES ('BTC/KZT', '[]', now(), now(), %s, %s)"
    )
    refused = pytest.raises(IntegrityError, match="rate_or_refusal")
    with refused, transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(insert, [price, refusal])


@pytest.mark.case("R71")
@pytest.mark.parametrize("hours", [-1, 1])
def test_the_hosts_clock_decides_nothing(hours: int, market: Market) -> None:
    # The exchanges go by the true time, as the database does.
    market.ways = {name: Way(at=ago(1)) for name in names()}
    with time_machine.travel(ago(0) + timedelta(hours=hours), tick=True):
        observe_all()
        assert price_of() == Decimal(BTC_KZT.numerator) / BTC_KZT.denominator
        assert lock()
    market.ways = {name: Way(at=ago(hours * 3600)) for name in names()}
    with time_machine.travel(ago(0) - timedelta(hours=hours), tick=True):
        observe_all()
        sources = CombinedRate.objects.filter(pair="BTC/KZT").latest("id").provenance["sources"]
    # Those that tell no time of their own are taken at the moment of asking.
    assert {one["source"] for one in sources} == {"kraken", "bitfinex"}


def test_a_source_that_fails_is_left_alone_and_tried_again(
    market: Market, settings: Settings
) -> None:
    market.ways["kraken"] = Way(status=500)
    for _ in range(5):
        observe_all()
    assert market.asked["kraken"] == 3
    assert breakers(database_now())["kraken"].state is BreakerState.OPEN
    assert "kraken" not in due_sources()
    assert not observe_source("kraken")
    settings.RATE_BREAKER_PAUSE_S = 0
    assert breakers(database_now())["kraken"].state is BreakerState.HALF_OPEN
    market.ways.clear()
    assert observe_source("kraken")
    assert breakers(database_now())["kraken"].state is BreakerState.CLOSED


def test_a_source_that_asks_for_a_pause_is_not_asked(market: Market) -> None:
    market.ways["okx"] = Way(status=429, raw=b"{}", headers={"Retry-After": "600"})
    observe_all()
    observe_all()
    assert market.asked["okx"] == 1
    assert breakers(database_now())["okx"].state is BreakerState.OPEN


def test_every_source_has_its_turn(market: Market, settings: Settings) -> None:
    assert due_sources() == [*names(), NAME]
    observe_all()
    assert due_sources() == names()
    settings.RATE_INTERVAL_S = 60
    assert due_sources() == []
    assert not observe_source("kraken")
    assert not combine_rates()


def test_one_process_asks_a_source_at_a_time(
    committed: None, market: Market, settings: Settings
) -> None:
    market.ways["kraken"] = Way(is_silent=True)
    asked: list[bool] = []

    def ask() -> None:
        asked.append(observe_source("kraken"))
        connection.close()

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(asked) == [False, False, False, True]
    assert market.asked["kraken"] == 1


def test_users_are_told_in_their_language() -> None:
    said = set()
    for language in ("kk", "ru", "en"):
        with translation.override(language):
            said.add(str(RateUnavailableError.sentence))
    assert len(said) == 3


def test_the_table_shows_every_source_and_rate(
    market: Market, settings: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    call_command("rates")
    shown = capsys.readouterr().out
    assert "never asked" in shown
    assert "no rates" in shown
    market.ways["okx"] = Way(raw=b"<html>")
    market.ways["bitstamp"] = Way(at=ago(900))
    observe_all()
    call_command("rates")
    shown = capsys.readouterr().out
    for words in ("kraken", "USDT/USD", "official from", "stale", "BTC/KZT", "474.2", "spread: 0"):
        assert words in shown
    call_command("rates", json=True)
    table = json.loads(capsys.readouterr().out)
    (btc,) = [one for one in table["rates"] if one["pair"] == "BTC/KZT"]
    assert Decimal(btc["price"]) == price_of()
    okx = next(one for one in table["states"] if one["source"] == "okx")
    assert okx["breaker"]["failures"] == 1
    assert "BTC/USDT" in okx["error"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda _feeds: "no json", "malformed"),
        (lambda feeds: feeds | {"more": 1}, "unknown field"),
        (lambda feeds: feeds | {"exchanges": feeds["exchanges"][:1] * 2}, "twice"),
        (
            lambda feeds: feeds | {"exchanges": [{"name": "kraken", "markets": {"btcusd": "x"}}]},
            "no such pair",
        ),
        (lambda feeds: feeds | {"exchanges": [{"name": "nobody", "markets": {}}]}, "nobody"),
    ],
)
def test_a_wrong_file_of_feeds_is_named(
    change: Callable[[Any], Any], message: str, market: Market, settings: Settings, tmp_path: Path
) -> None:
    changed = change(json.loads(Path(settings.RATES_FILE).read_text()))
    path = tmp_path / "wrong.json"
    path.write_text(changed if isinstance(changed, str) else json.dumps(changed))
    settings.RATES_FILE = str(path)
    with pytest.raises(CommandError, match=message):
        call_command("rates")


def test_sources_without_https_serve_a_devnet_alone(
    market: Market, settings: Settings, tmp_path: Path
) -> None:
    path = tmp_path / "plain.json"
    market.write_feeds(path)
    settings.RATES_FILE, settings.DEVNET = str(path), False
    with pytest.raises(CommandError, match="https"):
        call_command("rates")


def test_fixed_rates_serve_a_devnet_alone(settings: Settings, db: None) -> None:
    settings.DEVNET = False
    assert settings.FIXED_RATES
    assert isinstance(configured_source(), MarketSource)
