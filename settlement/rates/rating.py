"""Combine what sources said into the rates that quotes are made of, each kept as a row."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from typing import Any, Final

import structlog
from django.conf import settings

from settlement.calendar import almaty_day
from settlement.clock import database_now
from settlement.models import CombinedRate
from settlement.rates.combining import Candidate, Combined, Limits, Refusal
from settlement.rates.feeds import configured_feeds
from settlement.rates.observations import (
    OfficialRate,
    exact,
    newest_observations,
    official_rates,
    plain,
)
from settlement.rates.routes import (
    DOLLAR,
    OFFICIAL_PAIR,
    TENGE,
    TETHER_PAIR,
    Leg,
    combine_asset,
    combine_tether,
    is_fresh,
    official_leg,
)

log = structlog.get_logger(__name__)

SOURCES_MIN: Final = 3
"""Outside a devnet no setting asks for fewer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StandingRate:
    """A pair's newest refusal if that is its newest word, and its last good price if one stands."""

    pair: str
    refusal: Refusal | None
    price: Decimal | None
    observed_at: datetime | None
    combined_at: datetime | None
    provenance: dict[str, Any]


def combine_rates() -> bool:
    """Combine every pair that the sources tell of, if it is time; return whether it was.

    Raises FeedsError.
    """
    now = database_now()
    since = now - timedelta(seconds=settings.RATE_INTERVAL_S)
    if CombinedRate.objects.filter(pair=TETHER_PAIR, combined_at__gt=since).exists():
        return False
    fresh = [
        one
        for one in newest_observations(since=now - timedelta(seconds=settings.RATE_AGE_S_MAX))
        if is_fresh(one, now=now, age_s_max=settings.RATE_AGE_S_MAX)
    ]
    official = official_of(now)
    dollar = official_leg(official, jump_bp_max=settings.OFFICIAL_RATE_JUMP_BP_MAX)
    last_good = _last_good(now)
    tethers = combine_tether(fresh, limits=_limits(), last_good=last_good.get(TETHER_PAIR))
    tether = Leg(pair=TETHER_PAIR, price=tethers.price, refusal=tethers.refusal)
    legs: dict[str, Any] = {}
    rows = [_row(TETHER_PAIR, tethers, legs, now)]
    legs[TETHER_PAIR] = _leg_of_tether(tethers)
    if official:
        legs[OFFICIAL_PAIR] = _leg_of_bank(official[0])
    for symbol in _symbols():
        pair = f"{symbol}/{TENGE}"
        combined = combine_asset(
            symbol,
            fresh=fresh,
            dollar=dollar,
            tether=tether,
            limits=_limits(),
            last_good=last_good.get(pair),
        )
        rows.append(_row(pair, combined, legs, now))
    CombinedRate.objects.bulk_create(rows)
    _tell(rows)
    return True


def standing_rates(*, now: datetime) -> dict[str, StandingRate]:
    """Every pair's rate at ``now``, by pair.

    ``price`` is the newest good one not older than ``RATE_LAST_GOOD_S``, unless the newest word of
    all is a refusal that says it may be wrong.
    """
    rows = list(
        CombinedRate.objects.filter(
            combined_at__gt=now - timedelta(seconds=settings.RATE_LAST_GOOD_S)
        ).order_by("pair", "-combined_at", "-id")
    )
    standing: dict[str, StandingRate] = {}
    for pair in {row.pair: None for row in rows}:
        of_pair = [row for row in rows if row.pair == pair]
        refusal = Refusal(of_pair[0].refusal) if of_pair[0].refusal else None
        good = next((row for row in of_pair if row.price is not None), None)
        if refusal not in {None, Refusal.TOO_FEW}:
            good = None
        standing[pair] = StandingRate(
            pair=pair,
            refusal=refusal,
            price=good.price if good else None,
            observed_at=good.observed_at if good else None,
            combined_at=good.combined_at if good else None,
            provenance=good.provenance if good else {},
        )
    return standing


def official_of(now: datetime) -> list[OfficialRate]:
    """The dollar's official rates of days up to today in the city, newest first; none too old."""
    today = almaty_day(now)
    since = today - timedelta(days=settings.OFFICIAL_RATE_AGE_DAYS_MAX)
    return official_rates(currency=DOLLAR, on=today, since=since)


def _symbols() -> list[str]:
    """Every asset that some source is asked for."""
    pairs = (pair for one in configured_feeds().exchanges for pair in one.markets)
    return sorted({pair.partition("/")[0] for pair in pairs} - {DOLLAR})


def _limits() -> Limits:
    wanted = settings.RATE_SOURCES_MIN
    return Limits(
        sources_min=wanted if settings.DEVNET else max(wanted, SOURCES_MIN),
        outlier_bp_max=settings.RATE_OUTLIER_BP_MAX,
        jump_bp_max=settings.RATE_JUMP_BP_MAX,
    )


def _last_good(now: datetime) -> dict[str, Fraction]:
    """Each pair's last good price, while it is young enough to bound a jump."""
    rows = (
        CombinedRate.objects.filter(
            combined_at__gt=now - timedelta(seconds=settings.RATE_JUMP_WINDOW_S),
            price__isnull=False,
        )
        .order_by("pair", "-combined_at", "-id")
        .distinct("pair")
        .values_list("pair", "price")
    )
    return {pair: Fraction(price) for pair, price in rows if price is not None}


def _row(pair: str, combined: Combined, legs: dict[str, Any], now: datetime) -> CombinedRate:
    seen = [one.seen for one in combined.used]
    told = combined.price is not None
    return CombinedRate(
        pair=pair,
        price=exact(combined.price) if combined.price is not None else None,
        refusal=combined.refusal or "",
        provenance={
            "combined_at": now.isoformat(),
            "sources": _sources(combined),
            "legs": dict(legs),
        },
        observed_at=min(min(one.observed_at, one.fetched_at) for one in seen) if told else None,
        combined_at=now,
    )


def _sources(combined: Combined) -> list[dict[str, Any]]:
    return [_source(one, counts=True) for one in combined.used] + [
        _source(one, counts=False) for one in combined.left_out
    ]


def _source(one: Candidate, *, counts: bool) -> dict[str, Any]:
    return {
        "source": one.seen.source,
        "pair": one.seen.pair,
        "price": plain(one.seen.price),
        "worth": plain(exact(one.price)),
        "observed_at": one.seen.observed_at.isoformat(),
        "fetched_at": one.seen.fetched_at.isoformat(),
        "counts": counts,
    }


def _leg_of_tether(tethers: Combined) -> dict[str, Any]:
    price = None if tethers.price is None else plain(exact(tethers.price))
    return {"price": price, "sources": _sources(tethers)}


def _leg_of_bank(rate: OfficialRate) -> dict[str, Any]:
    return {
        "price": plain(rate.tenge),
        "effective_on": rate.effective_on.isoformat(),
        "document": rate.document_id,
    }


def _tell(rows: Sequence[CombinedRate]) -> None:
    refused = {row.pair: row.refusal for row in rows if row.refusal}
    if refused:
        log.warning("no rate", refused=refused)
