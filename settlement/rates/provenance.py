"""What a quote's price was made of, kept with the quote for ever, and read again."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

from settlement.models import Quote
from settlement.rates.observations import OfficialRate, plain
from settlement.rates.sources import Price


@dataclass(frozen=True, slots=True, kw_only=True)
class SourcePrice:
    """What one source named for a pair, and what that is worth in tenge for one coin.

    ``counts`` is False for one that stood apart from the others.
    """

    source: str
    pair: str
    price: Decimal
    worth: Decimal
    observed_at: datetime
    fetched_at: datetime
    counts: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Official:
    """The National Bank's rate that stood beside the quote: tenge for one unit."""

    currency: str
    tenge: Decimal
    effective_on: date


@dataclass(frozen=True, slots=True, kw_only=True)
class Provenance:
    """Where a quote's price came from.

    ``tenge`` is the rate before the operator's spread of ``spread_bp`` hundredths of a percent.
    ``tether_usd`` is what USDT was measured at, None where it played no part or was fixed.
    """

    source: str
    tenge: Decimal
    spread_bp: int
    price_tiyn: Decimal
    observed_at: datetime
    locked_at: datetime
    combined_at: datetime | None
    tether_usd: Decimal | None
    official: Official | None
    sources: tuple[SourcePrice, ...]


def provenance_to_keep(
    price: Price, *, spread_bp: int, official: OfficialRate | None
) -> dict[str, Any]:
    """What is stored with a quote, for JSON."""
    beside = official and {
        "currency": official.currency,
        "tenge": plain(official.tenge),
        "effective_on": official.effective_on.isoformat(),
        "document": official.document_id,
    }
    return {
        **price.provenance,
        "tenge": str(price.tenge),
        "source": price.source,
        "spread_bp": spread_bp,
        "official": beside,
    }


def provenances_of(ids: Collection[UUID]) -> dict[UUID, Provenance]:
    """Where the prices of these quotes came from, by the quote's id."""
    return {quote.id: _provenance(quote) for quote in Quote.objects.filter(pk__in=ids)}


def _provenance(quote: Quote) -> Provenance:
    kept = quote.provenance
    combined_at, official = kept.get("combined_at"), kept.get("official")
    tether = kept.get("legs", {}).get("USDT/USD", {}).get("price")
    return Provenance(
        source=quote.source,
        tenge=Decimal(kept["tenge"]),
        spread_bp=kept.get("spread_bp", 0),
        price_tiyn=quote.price_tiyn,
        observed_at=quote.observed_at,
        locked_at=quote.locked_at,
        combined_at=datetime.fromisoformat(combined_at) if combined_at else None,
        tether_usd=Decimal(tether) if tether else None,
        official=_official(official) if official else None,
        sources=tuple(_source(one) for one in kept.get("sources", [])),
    )


def _official(kept: dict[str, Any]) -> Official:
    return Official(
        currency=kept["currency"],
        tenge=Decimal(kept["tenge"]),
        effective_on=date.fromisoformat(kept["effective_on"]),
    )


def _source(kept: dict[str, Any]) -> SourcePrice:
    return SourcePrice(
        source=kept["source"],
        pair=kept["pair"],
        price=Decimal(kept["price"]),
        worth=Decimal(kept["worth"]),
        observed_at=datetime.fromisoformat(kept["observed_at"]),
        fetched_at=datetime.fromisoformat(kept["fetched_at"]),
        counts=kept["counts"],
    )
