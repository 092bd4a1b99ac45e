"""Where a quote's price comes from: what stands in the database, or fixed prices on a devnet."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Any, Final, Protocol

from django.conf import settings
from django.utils import timezone
from django.utils.functional import Promise
from django.utils.translation import gettext_lazy

from chains.assets import Asset
from settlement.clock import database_now
from settlement.rates.feeds import rates_are_fixed
from settlement.rates.rating import StandingRate, standing_rates
from settlement.rates.routes import TENGE


class RateUnavailableError(Exception):
    """No trustworthy price can be had now; the message names the asset, and is for developers."""

    sentence: Final[str | Promise] = gettext_lazy(
        "There is no reliable exchange rate right now. Please try again in a few minutes."
    )
    """What a user is told, in the user's language."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Price:
    """Tenge for one whole coin, as one source saw it at ``observed_at`` (UTC).

    ``provenance`` says what it was made of, ready for JSON.
    """

    tenge: Decimal
    source: str
    observed_at: datetime
    provenance: Mapping[str, Any] = field(default_factory=dict)


class RateSource(Protocol):
    """Whoever can price an asset."""

    def price_of(self, asset: Asset) -> Price:
        """Return the price now; raises RateUnavailableError."""


@dataclass(frozen=True, slots=True)
class FixedSource:
    """Prices by symbol that never move: for the devnet alone."""

    tenge_by_symbol: Mapping[str, Decimal]

    def price_of(self, asset: Asset) -> Price:
        """Return the fixed price; raises RateUnavailableError where none or none sane is set."""
        tenge = self.tenge_by_symbol.get(asset.symbol)
        if tenge is None or not tenge.is_finite() or tenge <= 0:
            raise RateUnavailableError(f"No rate for {asset.symbol}: name it in FIXED_RATES.")
        return Price(tenge=tenge, source="fixed", observed_at=timezone.now())


@dataclass(frozen=True, slots=True)
class MarketSource:
    """The rates that stood in the database at one moment, by pair; use it at once."""

    standing: Mapping[str, StandingRate]

    def price_of(self, asset: Asset) -> Price:
        """Return the combined rate; raises RateUnavailableError where none stands."""
        rate = self.standing.get(f"{asset.symbol}/{TENGE}")
        if rate is None or rate.price is None or rate.observed_at is None:
            reason = (rate.refusal if rate else None) or "nothing combined lately"
            raise RateUnavailableError(f"No rate for {asset.symbol}: {reason}.")
        return Price(
            tenge=rate.price,
            source="market",
            observed_at=rate.observed_at,
            provenance=rate.provenance,
        )


def configured_source() -> RateSource:
    """What the settings name: fixed rates on a devnet that has them, else what the markets say."""
    if rates_are_fixed():
        return FixedSource(settings.FIXED_RATES)
    return MarketSource(standing_rates(now=database_now()))
