"""From what sources said to tenge: pure.

An asset's tenge are read directly where a market has them, else through dollars, else through USDT
and dollars. Dollars to tenge is the National Bank's official rate; USDT to dollars is measured like
everything else: no stablecoin is taken for a dollar (R68).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from fractions import Fraction
from typing import Final

from settlement.rates.combining import Candidate, Combined, Limits, Refusal, combine, is_near
from settlement.rates.observations import OfficialRate, Seen

TENGE: Final = "KZT"
DOLLAR: Final = "USD"
TETHER: Final = "USDT"
OFFICIAL_PAIR: Final = f"{DOLLAR}/{TENGE}"
TETHER_PAIR: Final = f"{TETHER}/{DOLLAR}"
SKEW_MAX: Final = timedelta(seconds=60)
"""A source's clock may be ahead of the database's by so much."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Leg:
    """A pair that stands between an asset and tenge, and what it is worth if anything."""

    pair: str
    price: Fraction | None
    refusal: Refusal | None = None


def is_fresh(seen: Seen, *, now: datetime, age_s_max: int) -> bool:
    """Whether a price is neither stale nor from the future."""
    oldest = now - timedelta(seconds=age_s_max)
    return oldest <= min(seen.observed_at, seen.fetched_at) and seen.observed_at <= now + SKEW_MAX


def official_leg(rates: Sequence[OfficialRate], *, jump_bp_max: int) -> Leg:
    """Dollars in tenge by the newest official rate, bounded by the day's before it.

    ``rates`` are newest first; none refuses, as does a jump beyond ``jump_bp_max``.
    """
    if not rates:
        return Leg(pair=OFFICIAL_PAIR, price=None, refusal=Refusal.NO_OFFICIAL_RATE)
    newest = Fraction(rates[0].tenge)
    if len(rates) > 1 and not is_near(newest, Fraction(rates[1].tenge), jump_bp_max):
        return Leg(pair=OFFICIAL_PAIR, price=None, refusal=Refusal.OFFICIAL_JUMP)
    return Leg(pair=OFFICIAL_PAIR, price=newest)


def combine_tether(
    fresh: Sequence[Seen], *, limits: Limits, last_good: Fraction | None
) -> Combined:
    """USDT in dollars, as markets measure it."""
    candidates = [
        Candidate(price=Fraction(one.price), seen=one) for one in fresh if one.pair == TETHER_PAIR
    ]
    return combine(candidates, limits=limits, last_good=last_good)


def combine_asset(
    symbol: str,
    *,
    fresh: Sequence[Seen],
    dollar: Leg,
    tether: Leg,
    limits: Limits,
    last_good: Fraction | None,
) -> Combined:
    """An asset in tenge: each source votes once, by the shortest way that it offers.

    Where too few can vote because a leg was refused, the leg's refusal is told.
    """
    ways = (
        (f"{symbol}/{TENGE}", ()),
        (f"{symbol}/{DOLLAR}", (dollar,)),
        (f"{symbol}/{TETHER}", (tether, dollar)),
    )
    votes: dict[str, Candidate] = {}
    broken: list[Refusal] = []
    for pair, legs in ways:
        broken += [leg.refusal for leg in legs if leg.refusal and _is_told(fresh, pair)]
        factor = _product(legs)
        if factor is not None:
            for one in fresh:
                if one.pair == pair:
                    vote = Candidate(price=Fraction(one.price) * factor, seen=one)
                    votes.setdefault(one.source, vote)
    combined = combine(list(votes.values()), limits=limits, last_good=last_good)
    if combined.refusal is Refusal.TOO_FEW and broken:
        return Combined(
            price=None, refusal=broken[0], used=combined.used, left_out=combined.left_out
        )
    return combined


def _is_told(fresh: Sequence[Seen], pair: str) -> bool:
    return any(one.pair == pair for one in fresh)


def _product(legs: Sequence[Leg]) -> Fraction | None:
    factor = Fraction(1)
    for leg in legs:
        if leg.price is None:
            return None
        factor *= leg.price
    return factor
