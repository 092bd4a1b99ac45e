"""What the sources say now, each beside the state of its breaker, and what comes of it."""

from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Final

from django.conf import settings

from settlement.clock import database_now
from settlement.rates.breakers import ATTEMPTS_READ, Breaker
from settlement.rates.national_bank import NAME
from settlement.rates.observations import newest_attempts, newest_observations
from settlement.rates.observing import breakers
from settlement.rates.rating import official_of, standing_rates
from settlement.rates.routes import OFFICIAL_PAIR, is_fresh

SHOWN: Final = timedelta(hours=1)
"""Prices that are older are not shown; official rates stand for days."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceLine:
    """One pair of one source; ``age_s`` counts from what the source calls its price's time."""

    source: str
    pair: str
    price: Decimal
    age_s: int
    is_fresh: bool
    effective_on: date | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceState:
    """How one source does: its breaker, and what was wrong when it was asked last."""

    source: str
    breaker: Breaker
    tried_at: datetime | None
    error: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RateLine:
    """One combined pair: its price and its age, or why there is none."""

    pair: str
    price: Decimal | None
    age_s: int | None
    refusal: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RateTable:
    """Everything that a quote would be made of now."""

    lines: tuple[SourceLine, ...]
    states: tuple[SourceState, ...]
    rates: tuple[RateLine, ...]
    spread_bp: int


def rate_table() -> RateTable:
    """Read the table as it stands in the database; raises FeedsError."""
    now = database_now()
    by_source = breakers(now)
    attempts = newest_attempts(sources=by_source, count_max=ATTEMPTS_READ)
    return RateTable(
        lines=(*_market_lines(now), *_official_lines(now)),
        states=tuple(
            SourceState(
                source=source,
                breaker=breaker,
                tried_at=attempts[source][0].tried_at if attempts[source] else None,
                error=attempts[source][0].error if attempts[source] else "never asked",
            )
            for source, breaker in by_source.items()
        ),
        rates=tuple(
            RateLine(
                pair=one.pair,
                price=one.price,
                age_s=_seconds(now - one.combined_at) if one.combined_at else None,
                refusal=one.refusal or "",
            )
            for one in standing_rates(now=now).values()
        ),
        spread_bp=settings.RATE_SPREAD_BP,
    )


def _market_lines(now: datetime) -> list[SourceLine]:
    return [
        SourceLine(
            source=one.source,
            pair=one.pair,
            price=one.price,
            age_s=_seconds(now - min(one.observed_at, one.fetched_at)),
            is_fresh=is_fresh(one, now=now, age_s_max=settings.RATE_AGE_S_MAX),
        )
        for one in newest_observations(since=now - SHOWN)
    ]


def _official_lines(now: datetime) -> list[SourceLine]:
    return [
        SourceLine(
            source=NAME,
            pair=OFFICIAL_PAIR,
            price=one.tenge,
            age_s=_seconds(now - one.fetched_at),
            is_fresh=True,
            effective_on=one.effective_on,
        )
        for one in official_of(now)[:1]
    ]


def _seconds(age: timedelta) -> int:
    return int(age.total_seconds())
