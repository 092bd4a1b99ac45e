"""Circuit breakers, derived from the attempts that the database remembers: pure.

Every process that reads the same attempts sees the same state; nothing is kept in memory.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final

from settlement.rates.observations import Attempt

DOUBLINGS_MAX: Final = 4
ATTEMPTS_READ: Final = 32
"""Attempts that decide a state: more failures in a row than this make no pause longer."""


class BreakerState(StrEnum):
    """``closed``: asked as ever. ``open``: left alone. ``half-open``: asked once, to see."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half-open"


@dataclass(frozen=True, slots=True, kw_only=True)
class BreakerLimits:
    """Failures in a row that open a breaker, and its first pause, which doubles up to 16 times."""

    failures: int
    pause_s: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Breaker:
    """The state of one source's breaker, its failures in a row, and until when it is left alone."""

    state: BreakerState
    failures: int
    until: datetime | None = None


def breaker_of(*, attempts: Sequence[Attempt], limits: BreakerLimits, now: datetime) -> Breaker:
    """The breaker after ``attempts`` (newest first) at ``now``; both by the database's clock.

    A source that asks to be left alone for a time is, whatever came before.
    """
    failures = 0
    for attempt in attempts:
        if attempt.is_usable:
            break
        failures += 1
    until = max(_pauses(attempts, failures, limits), default=None)
    if until is None:
        return Breaker(state=BreakerState.CLOSED, failures=failures)
    state = BreakerState.OPEN if now < until else BreakerState.HALF_OPEN
    if state is BreakerState.HALF_OPEN and failures < limits.failures:
        return Breaker(state=BreakerState.CLOSED, failures=failures)
    return Breaker(state=state, failures=failures, until=until)


def _pauses(attempts: Sequence[Attempt], failures: int, limits: BreakerLimits) -> list[datetime]:
    if not attempts:
        return []
    newest = attempts[0]
    pauses = [newest.retry_at] if newest.retry_at is not None else []
    if failures >= limits.failures:
        doublings = min(failures - limits.failures, DOUBLINGS_MAX)
        pauses.append(newest.tried_at + timedelta(seconds=limits.pause_s * 2**doublings))
    return pauses
