"""The one clock that deadlines, batches and statements go by: the database's (R71)."""

from datetime import date, datetime

from django.db import connection

from settlement.calendar import almaty_day


def database_now() -> datetime:
    """The database's time at this moment, UTC."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT clock_timestamp()")
        now: datetime = cursor.fetchone()[0]
    return now


def today() -> date:
    """The day in Almaty at this moment."""
    return almaty_day(database_now())
