"""What the checkout page says of where its rate came from."""

from datetime import UTC, date, datetime
from decimal import Decimal
from html import unescape

import pytest
from django.utils import translation
from pytest_django.fixtures import Settings

from alatau_pay.devnet.nodes import Devnet
from merchants.models import Shop
from merchants.pages.rates import rate_notes
from settlement.rates.provenance import Official, Provenance, SourcePrice
from tests.merchants.test_checkout_page import page_of, text_of
from tests.merchants.test_invoices import issued

AT = datetime(2026, 11, 24, 13, 40, tzinfo=UTC)


def source(name: str, *, counts: bool = True) -> SourcePrice:
    return SourcePrice(
        source=name,
        pair="BTC/USD",
        price=Decimal(95_000),
        worth=Decimal(45_049_000),
        observed_at=AT,
        fetched_at=AT,
        counts=counts,
    )


def measured() -> Provenance:
    return Provenance(
        source="market",
        tenge=Decimal(45_049_000),
        spread_bp=50,
        price_tiyn=Decimal(4_482_375_500),
        observed_at=AT,
        locked_at=AT,
        combined_at=AT,
        tether_usd=Decimal("0.999"),
        official=Official(currency="USD", tenge=Decimal("474.2"), effective_on=date(2026, 11, 24)),
        sources=(source("a"), source("b"), source("c"), source("d", counts=False)),
    )


@pytest.mark.case("R69")
@pytest.mark.parametrize(
    ("language", "words"),
    [
        ("en", ("the median of 3 exchanges", "24.11.2026, 18:40", "0.5 %", "1 USD = 474.20\xa0₸")),
        ("ru", ("медиана 3 бирж", "24.11.2026, 18:40", "0,5 %", "1 USD = 474,20\xa0₸")),
        ("kk", ("3 биржаның медианасы", "24.11.2026, 18:40", "0,5 %", "1 USD = 474,20\xa0₸")),
    ],
)
def test_a_measured_rate_says_who_spread_and_official_rate(
    language: str, words: tuple[str, ...]
) -> None:
    with translation.override(language):
        said = " ".join(rate_notes(measured(), language=language))
    for word in words:
        assert word in said


@pytest.mark.django_db
def test_the_page_shows_it_beside_the_price(
    networks: Devnet, shop: Shop, settings: Settings
) -> None:
    invoice, bitcoin = issued(shop, "BTC")
    assert "margin" not in page_of(invoice, bitcoin)
    settings.RATE_SPREAD_BP = 50
    invoice, bitcoin = issued(shop, "BTC")
    said = unescape(text_of(page_of(invoice, bitcoin)))
    assert "1 BTC = 44,775,000 ₸ The operator's margin: 0.5 %." in said
