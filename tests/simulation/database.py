"""The database of a simulation: real PostgreSQL, a shadowed clock, emptied after each seed."""

import copy
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Final

from django.apps import apps
from django.db import connections
from django.db.backends.base.base import BaseDatabaseWrapper

from tests.simulation import clock

WORKERS: Final = 3
ROOMS: Final = ("merchants", "settlement", "chains")
OPTIONS: Final = (
    "-c search_path=simulation,pg_catalog,public -c synchronous_commit=off"
    " -c lock_timeout=10s -c statement_timeout=60s -c jit=off"
)


@contextmanager
def connected() -> Iterator[Sequence[BaseDatabaseWrapper]]:
    """Connections to the default database whose clock is the simulation's: observer, workers."""
    with connections["default"].cursor() as sql:
        sql.execute(clock.SQL)
    connections["default"].close()
    made = [_connection() for _ in range(1 + WORKERS)]
    try:
        yield made
    finally:
        for one in made:
            one.close()


def wipe(connection: BaseDatabaseWrapper) -> None:
    """Delete every row of ours, also those that the ledger's guards protect."""
    tables = [
        model._meta.db_table
        for room in ROOMS
        for model in apps.get_app_config(room).get_models(include_auto_created=True)
    ]
    deletes = "; ".join(f"DELETE FROM {table}" for table in tables)  # noqa: S608 -- our own names
    with connection.cursor() as sql:
        sql.execute(f"BEGIN; SET LOCAL session_replication_role = replica; {deletes}; COMMIT")


def vacuum(connection: BaseDatabaseWrapper) -> None:
    """Forget the deleted rows for good, and learn the tables' sizes."""
    with connection.cursor() as sql:
        sql.execute("VACUUM ANALYZE")


def _connection() -> BaseDatabaseWrapper:
    base = connections["default"]
    made = base.__class__(copy.deepcopy(base.settings_dict), alias="default")
    made.settings_dict["OPTIONS"] = {**made.settings_dict["OPTIONS"], "options": OPTIONS}
    made.settings_dict["CONN_MAX_AGE"] = None
    made.settings_dict["CONN_HEALTH_CHECKS"] = False
    return made
