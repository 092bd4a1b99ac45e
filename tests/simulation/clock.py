"""A clock and a source of chance that the seed owns, for Python and for PostgreSQL."""

import os
import random
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Final

import time_machine
from django.db.backends.base.base import BaseDatabaseWrapper

BEGAN_AT: Final = datetime(2026, 11, 24, 6, 0, tzinfo=UTC)
EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)

SQL: Final = """
CREATE SCHEMA IF NOT EXISTS simulation;
CREATE SEQUENCE IF NOT EXISTS simulation.clock;
CREATE OR REPLACE FUNCTION simulation.read_clock()
    RETURNS timestamptz LANGUAGE sql VOLATILE AS $$
    SELECT pg_catalog.to_timestamp(0) + last_value * interval '1 microsecond'
    FROM simulation.clock $$;
CREATE OR REPLACE FUNCTION simulation.moment(timestamptz)
    RETURNS bigint LANGUAGE sql IMMUTABLE
    AS $$ SELECT (extract(epoch FROM $1) * 1000000)::bigint $$;
CREATE OR REPLACE FUNCTION simulation.clock_timestamp()
    RETURNS timestamptz LANGUAGE sql VOLATILE AS $$ SELECT simulation.read_clock() $$;
CREATE OR REPLACE FUNCTION simulation.statement_timestamp()
    RETURNS timestamptz LANGUAGE sql VOLATILE AS $$ SELECT simulation.read_clock() $$;
CREATE OR REPLACE FUNCTION simulation.now()
    RETURNS timestamptz LANGUAGE sql VOLATILE AS $$ SELECT simulation.read_clock() $$;
"""
"""PostgreSQL's clocks, shadowed for whoever has this schema first in its search path.

A sequence is seen by every connection at once, inside transactions too, like a clock.
``transaction_timestamp`` stays what it is: the ledger uses it to name a transaction, not a time.
"""


class Clock:
    """The time of one seed; Python's view of it may be skewed, the database's is the truth."""

    def __init__(self, observer: BaseDatabaseWrapper) -> None:
        self._observer, self._now, self._skew = observer, BEGAN_AT, timedelta(0)
        self._traveller: time_machine.Coordinates | None = None

    @property
    def now(self) -> datetime:
        """The database's time."""
        return self._now

    @contextmanager
    def running(self) -> Iterator[None]:
        """Let Python's clock be this one."""
        with time_machine.travel(self._now, tick=False) as traveller:
            self._traveller = traveller
            self.advance(timedelta(0))
            yield
        self._traveller = None

    def advance(self, by: timedelta) -> None:
        """Move both clocks forward."""
        self._now += by
        with self._observer.cursor() as sql:
            microseconds = (self._now - EPOCH) // timedelta(microseconds=1)
            sql.execute("SELECT setval('simulation.clock', %s)", [microseconds])
        self._show()

    def skew(self, by: timedelta) -> None:
        """Set Python's clock apart from the database's (R71)."""
        if by != self._skew:
            self._skew = by
            self._show()

    def seconds(self) -> float:
        """A monotonic clock for whoever takes one as an argument."""
        return (self._now - BEGAN_AT).total_seconds()

    def _show(self) -> None:
        if self._traveller is not None:
            self._traveller.move_to(self._now + self._skew, tick=False)


@contextmanager
def seeded_entropy(rng: random.Random) -> Iterator[None]:
    """Let ids and tokens come from the seed: whoever asks the system for chance gets this."""

    def urandom(size: int) -> bytes:
        return rng.randbytes(size)

    places = [(os, "urandom"), (random, "_urandom")]
    kept = [(place, name, getattr(place, name)) for place, name in places]
    try:
        for place, name in places:
            setattr(place, name, urandom)
        yield
    finally:
        for place, name, value in kept:
            setattr(place, name, value)
