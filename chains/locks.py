"""Who may scan a network now. It only spares work: what is stored stays right if two scan (R66)."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress

from django.db import InterfaceError, OperationalError, connection

KEY = "hashtextextended('scan ' || %s, 0)"


@contextmanager
def scanning_alone(network: str) -> Iterator[bool]:
    """Yield whether nobody else scans the network; if so, nobody else will while the block lasts.

    It never waits. The database session holds the lock, so it ends with the process at the latest;
    a pooler that gives each transaction another session must not stand between.
    """
    with connection.cursor() as sql:
        sql.execute(f"SELECT pg_try_advisory_lock({KEY})", [network])
        (alone,) = sql.fetchone()
    try:
        yield alone
    finally:
        if alone:
            # A session that was lost took its lock with it.
            with suppress(OperationalError, InterfaceError), connection.cursor() as sql:
                sql.execute(f"SELECT pg_advisory_unlock({KEY})", [network])
