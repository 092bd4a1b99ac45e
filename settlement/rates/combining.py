"""Many sources' prices made one: pure, in exact fractions.

A price is the median of what fresh sources say, once those that stand apart are left out. Where too
few are left, where they disagree, or where they agree on a jump, there is no price.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from fractions import Fraction
from typing import Final

from settlement.rates.observations import Seen

BP: Final = 10_000
"""Hundredths of a percent in one."""


class Refusal(StrEnum):
    """Why there is no price.

    ``too_few`` alone lets the last good price stand for a while: nothing says that it is wrong.
    """

    TOO_FEW = "too_few"
    DISAGREEMENT = "disagreement"
    JUMP = "jump"
    NO_OFFICIAL_RATE = "no_official_rate"
    OFFICIAL_JUMP = "official_jump"


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What a combined price needs; ``_bp`` are hundredths of a percent."""

    sources_min: int
    outlier_bp_max: int
    jump_bp_max: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """What one source says that a pair is worth; ``seen`` is the price that it named itself."""

    price: Fraction
    seen: Seen


@dataclass(frozen=True, slots=True, kw_only=True)
class Combined:
    """The price, or why there is none; which candidates count and which were left out."""

    price: Fraction | None
    refusal: Refusal | None
    used: tuple[Candidate, ...]
    left_out: tuple[Candidate, ...]


def combine(
    candidates: Sequence[Candidate], *, limits: Limits, last_good: Fraction | None
) -> Combined:
    """Make one price of fresh candidates, one for each source at most.

    ``last_good`` is the last good price, None once it is too old to bound a jump. Raises ValueError
    when a source votes twice or a price is not above zero.
    """
    if len({one.seen.source for one in candidates}) != len(candidates):
        raise ValueError("a source has two votes")
    if any(one.price <= 0 for one in candidates):
        raise ValueError("a price is not above zero")
    middle = median([one.price for one in candidates]) if candidates else Fraction(0)
    used = tuple(one for one in candidates if is_near(one.price, middle, limits.outlier_bp_max))
    left_out = tuple(one for one in candidates if one not in used)
    refusal, price = None, median([one.price for one in used]) if used else None
    if candidates and 2 * len(used) <= len(candidates):
        refusal = Refusal.DISAGREEMENT
    elif price and last_good and not is_near(price, last_good, limits.jump_bp_max):
        refusal = Refusal.JUMP
    elif len(used) < limits.sources_min:
        refusal = Refusal.TOO_FEW
    return Combined(price=None if refusal else price, refusal=refusal, used=used, left_out=left_out)


def median(prices: Sequence[Fraction]) -> Fraction:
    """The middle price, or the mean of the two in the middle; IndexError for none."""
    ordered = sorted(prices)
    half = len(ordered) // 2
    return ordered[half] if len(ordered) % 2 else (ordered[half - 1] + ordered[half]) / 2


def is_near(price: Fraction, other: Fraction, bp_max: int) -> bool:
    """Whether neither price is above the other by more than ``bp_max``: fair to both sides."""
    low, high = sorted((price, other))
    return (high - low) * BP <= low * bp_max
