"""Ask the sources that are due, and keep what they say; never in a request of a user."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime, timedelta

import structlog
from django.conf import settings
from django.db import InterfaceError, OperationalError, connection, transaction

from settlement.clock import database_now
from settlement.rates.breakers import (
    ATTEMPTS_READ,
    Breaker,
    BreakerLimits,
    BreakerState,
    breaker_of,
)
from settlement.rates.exchanges import Exchange
from settlement.rates.feeds import configured_feeds
from settlement.rates.national_bank import NAME, NationalBank
from settlement.rates.observations import (
    Attempt,
    Feed,
    newest_attempts,
    record_answer,
)

log = structlog.get_logger(__name__)

KEY = "hashtextextended('rates ' || %s, 0)"


def sources() -> list[str]:
    """The names of every source that is configured; raises FeedsError."""
    return [*(one.name for one in configured_feeds().exchanges), NAME]


def due_sources() -> list[str]:
    """The sources whose turn has come, and whose breaker lets them be asked; raises FeedsError."""
    now = database_now()
    return [
        source
        for source, attempts in newest_attempts(sources=sources(), count_max=ATTEMPTS_READ).items()
        if _is_due(source, attempts, now)
    ]


def breakers(now: datetime) -> dict[str, Breaker]:
    """Every configured source's breaker; raises FeedsError."""
    attempts = newest_attempts(sources=sources(), count_max=ATTEMPTS_READ)
    return {
        source: breaker_of(attempts=of_source, limits=_breaker_limits(), now=now)
        for source, of_source in attempts.items()
    }


def observe_source(source: str) -> bool:
    """Ask one source if it is due, and keep its answer; return whether it was asked.

    One process asks a source at a time, so a half-open breaker lets one question through. Raises
    FeedsError, KeyError for a source that is not configured.
    """
    with _asking_alone(source) as alone:
        if not alone:
            return False
        attempts = newest_attempts(sources=[source], count_max=ATTEMPTS_READ)[source]
        now = database_now()
        if not _is_due(source, attempts, now):
            return False
        answer = _feed(source).observe(now=now)
        with transaction.atomic():
            record_answer(source=source, answer=answer, tried_at=now)
    if answer.refused:
        log.warning("rates refused", source=source, refused=list(answer.refused))
    return True


def _is_due(source: str, attempts: Sequence[Attempt], now: datetime) -> bool:
    breaker = breaker_of(attempts=attempts, limits=_breaker_limits(), now=now)
    if breaker.state is BreakerState.OPEN:
        return False
    if not attempts or not attempts[0].is_usable:
        every_s = settings.RATE_INTERVAL_S
    else:
        every_s = settings.OFFICIAL_RATE_INTERVAL_S if source == NAME else settings.RATE_INTERVAL_S
    return not attempts or now - attempts[0].tried_at >= timedelta(seconds=every_s)


def _breaker_limits() -> BreakerLimits:
    return BreakerLimits(
        failures=settings.RATE_BREAKER_FAILURES, pause_s=settings.RATE_BREAKER_PAUSE_S
    )


def _feed(source: str) -> Feed:
    feeds, timeout_s = configured_feeds(), settings.RATE_TIMEOUT_S
    if source == NAME:
        return NationalBank(
            url=feeds.national_bank.url,
            timeout_s=timeout_s,
            days_back=settings.OFFICIAL_RATE_AGE_DAYS_MAX,
        )
    entries = {one.name: one for one in feeds.exchanges}
    return Exchange(entries[source], timeout_s=timeout_s)


@contextmanager
def _asking_alone(source: str) -> Iterator[bool]:
    """Whether nobody else asks this source now; the session holds the lock, and never waits."""
    with connection.cursor() as sql:
        sql.execute(f"SELECT pg_try_advisory_lock({KEY})", [source])
        (alone,) = sql.fetchone()
    try:
        yield alone
    finally:
        if alone:
            # A session that was lost took its lock with it.
            with suppress(OperationalError, InterfaceError), connection.cursor() as sql:
                sql.execute(f"SELECT pg_advisory_unlock({KEY})", [source])
