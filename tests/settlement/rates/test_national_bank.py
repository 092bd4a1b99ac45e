"""The National Bank's documents over real HTTP: units, empty days, tomorrow's, and hostile ones."""

from datetime import date, datetime, timedelta
from decimal import Decimal

import pytest
from pytest_django.fixtures import Settings

from settlement.calendar import ALMATY
from settlement.clock import database_now
from settlement.models import OfficialRates
from settlement.rates.feeds import configured_feeds
from settlement.rates.national_bank import (
    NAME,
    NationalBank,
    OfficialDocumentError,
    read_document,
)
from settlement.rates.observations import Answer
from settlement.rates.observing import observe_source
from settlement.rates.rating import official_of
from tests.settlement.rates.market import Market, Way
from tests.settlement.rates.shapes import national_bank

DAY = date(2026, 11, 24)
NOON = datetime(2026, 11, 24, 12, tzinfo=ALMATY)
TODAY = "24.11.2026"
BOMB = (
    b'<?xml version="1.0"?><!DOCTYPE r [<!ENTITY a "aaaaaaaaaa">'
    + b"".join(b'<!ENTITY %c "%s">' % (98 + n, b"&%c;" % (97 + n) * 10) for n in range(8))
    + b"]><rates><date>24.11.2026</date><item><title>&i;</title></item></rates>"
)
OUTSIDE = (
    b'<!DOCTYPE r [<!ENTITY x SYSTEM "file:///etc/passwd">]><rates><date>24.11.2026</date>'
    b"<item><title>&x;</title><description>1</description><quant>1</quant></item></rates>"
)


def ask(now: datetime = NOON) -> Answer:
    bank = NationalBank(url=configured_feeds().national_bank.url, timeout_s=2, days_back=7)
    return bank.observe(now=now)


def one_rate(description: str, quant: str = "1", currency: str = "USD") -> bytes:
    return national_bank(TODAY, {currency: (description, quant)}).encode()


@pytest.mark.case("R69")
def test_a_days_rates_are_for_one_unit_each(market: Market) -> None:
    market.publish(TODAY, "474.2")
    (document,) = ask().documents
    assert document.effective_on == DAY
    assert document.rates == {
        "USD": Decimal("474.2"),
        "UZS": Decimal("0.0395"),
        "EUR": Decimal("512.34"),
    }
    assert document.document == market.documents[TODAY].encode()
    assert market.paths[-1].endswith("?fdate=24.11.2026")


@pytest.mark.case("R69")
def test_an_empty_day_falls_back_to_the_day_before(market: Market) -> None:
    market.publish("21.11.2026", "471.9")
    (document,) = ask().documents
    assert document.effective_on == date(2026, 11, 21)
    assert market.asked[NAME] == 4


def test_a_bank_without_documents_is_not_asked_for_ever(market: Market) -> None:
    answer = ask()
    assert not answer.is_usable
    assert "no document for 7 days" in answer.refused[0]
    assert market.asked[NAME] == 8


@pytest.mark.parametrize(("clock", "count"), [((16, 29), 1), ((16, 30), 2), ((23, 59), 2)])
def test_tomorrows_rates_are_fetched_from_half_past_four(
    clock: tuple[int, int], count: int, market: Market
) -> None:
    market.publish(TODAY, "474.2")
    market.publish("25.11.2026", "475.1")
    documents = ask(datetime(2026, 11, 24, *clock, tzinfo=ALMATY)).documents
    assert [str(one.effective_on) for one in documents] == ["2026-11-24", "2026-11-25"][:count]


def test_the_day_is_the_citys(market: Market) -> None:
    market.publish("25.11.2026", "475.1")
    (document,) = ask(datetime.fromisoformat("2026-11-24T19:30:00+00:00")).documents
    assert document.effective_on == date(2026, 11, 25)


@pytest.mark.case("R67")
@pytest.mark.parametrize(
    "document",
    [
        b"",
        b"not xml",
        b"<html><body>maintenance</body></html>",
        b'<?xml version="1.0" encoding="none"?><rates/>',
        b"<rates><item>",
        BOMB,
        OUTSIDE,
        national_bank("23.11.2026", {"USD": ("474.2", "1")}).encode(),
        national_bank("23.11.2026", {}).encode(),
        national_bank("11/24/2026", {"USD": ("474.2", "1")}).encode(),
        national_bank("", {"USD": ("474.2", "1")}).encode(),
        one_rate("0"),
        one_rate("-474.2"),
        one_rate("NaN"),
        one_rate("Infinity"),
        one_rate("474,2"),
        one_rate(""),
        one_rate("474.2", "0"),
        one_rate("474.2", "-1"),
        one_rate("474.2", "1.5"),
        one_rate("474.2", "1" * 5000),
        one_rate("474.2", ""),
        one_rate("474.2", currency="EUR"),
        one_rate("474.2").replace(b"</rates>", one_rate("1").split(b"</date>")[1]),
    ],
    ids=lambda document: repr(document[-60:]),
)
def test_a_document_that_is_not_the_days_is_refused(document: bytes, market: Market) -> None:
    with pytest.raises(OfficialDocumentError):
        read_document(document, day=DAY)
    market.documents[TODAY] = document
    answer = ask()
    assert not answer.is_usable
    assert answer.refused
    assert len(answer.refused[0]) < 200


@pytest.mark.case("R67")
@pytest.mark.parametrize(
    "way",
    [
        Way(status=500),
        Way(status=302, headers={"Location": "/elsewhere"}),
        Way(raw=b"<rates>" + b" " * 5_000_000),
        Way(is_silent=True),
        Way(drips=True),
    ],
    ids=["500", "redirect", "endless", "silent", "drips"],
)
def test_a_bank_that_misbehaves_is_left(way: Way, market: Market) -> None:
    market.publish(TODAY, "474.2")
    market.ways[NAME] = way
    assert not ask().is_usable
    assert market.asked[NAME] == 1


@pytest.mark.case("R69")
def test_a_document_is_kept_as_it_came_and_once(market: Market, settings: Settings) -> None:
    settings.OFFICIAL_RATE_INTERVAL_S = 0
    settings.OFFICIAL_RATE_AGE_DAYS_MAX = 7
    now = database_now()
    today = f"{now.astimezone(ALMATY):%d.%m.%Y}"
    assert observe_source(NAME)
    assert observe_source(NAME)
    (row,) = OfficialRates.objects.filter(effective_on=now.astimezone(ALMATY).date())
    assert bytes(row.document) == market.documents[today].encode()
    # The bank corrects the day: both documents stay, and the newer one counts.
    market.publish(today, "480")
    assert observe_source(NAME)
    assert OfficialRates.objects.filter(effective_on=row.effective_on).count() == 2
    assert official_of(now)[0].tenge == 480


@pytest.mark.case("R69")
def test_tomorrows_rate_is_not_todays(market: Market) -> None:
    now = database_now()
    for day, usd in ((0, "474.2"), (1, "490")):
        OfficialRates.objects.create(
            effective_on=now.astimezone(ALMATY).date() + timedelta(days=day),
            document=b"x",
            rates={"USD": usd},
            fetched_at=now,
        )
    assert official_of(now)[0].tenge == Decimal("474.2")
    assert official_of(now + timedelta(days=1))[0].tenge == 490
    assert official_of(now + timedelta(days=30)) == []
