"""Where prices come from: one small interface, and a fixed source for the devnet."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Protocol

from django.conf import settings
from django.utils import timezone

from chains.assets import Asset


class RateUnavailableError(Exception):
    """No trustworthy price can be had now; the message names the asset."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Price:
    """Tenge for one whole coin, as one source saw it at ``observed_at`` (UTC)."""

    tenge: Decimal
    source: str
    observed_at: datetime


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


def configured_source() -> RateSource:
    """The source that the settings name; raises RateUnavailableError outside a devnet."""
    if not settings.DEVNET:
        raise RateUnavailableError("Fixed rates serve the devnet only, and no other source is set.")
    return FixedSource(settings.FIXED_RATES)
