"""The one clock that deadlines go by: the database's, which every process shares (R71)."""

from datetime import datetime

from django.db import connection


def database_now() -> datetime:
    """The database's time at this moment, UTC."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT clock_timestamp()")
        now: datetime = cursor.fetchone()[0]
    return now
