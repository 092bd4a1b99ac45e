"""Business days of Kazakhstan and the days on which a shop is paid; all days are Almaty's.

The library ``holidays`` knows holidays, how they shift, and the days that were swapped so far. The
government swaps days at short notice, and the day of Kurban Ait is estimated until it is announced,
so a file of the operator's overrides both (``CALENDAR_FILE``, docs/bank-files.md).
"""

from calendar import monthrange
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from enum import StrEnum
from functools import lru_cache
from pathlib import Path
from typing import Final
from zoneinfo import ZoneInfo

import holidays
import msgspec
from django.conf import settings

ALMATY: Final = ZoneInfo("Asia/Almaty")
DAYS_OFF_MAX: Final = 31
"""No business day for a month is a broken override table, not a holiday."""


class CalendarError(ValueError):
    """An override table or a schedule that cannot be meant."""


class Every(StrEnum):
    """How often a shop is paid."""

    DAY = "day"
    WEEK = "week"
    MONTH = "month"


class Override(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A day that is worked or not, whatever week and holidays say, and the act that says so."""

    day: date
    is_business_day: bool
    source: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PayoutSchedule:
    """When a shop is paid: every business day, on a day of the week, or on a day of the month.

    ``on`` is an ISO day of the week from 1 (Monday) to 5, or a day of the month from 1 to 31, and 0
    for every business day. A day that is not worked, or that a month lacks, is made up for: by the
    next business day, by the month's last day.
    """

    every: Every
    on: int = 0

    def __post_init__(self) -> None:
        """Raise CalendarError for a day that does not fit."""
        first, last = {Every.DAY: (0, 0), Every.WEEK: (1, 5), Every.MONTH: (1, 31)}[self.every]
        if not first <= self.on <= last:
            raise CalendarError(f"A payout every {self.every} is not on day {self.on}.")


@dataclass(frozen=True, slots=True)
class BusinessCalendar:
    """The business days of Kazakhstan, with the overrides of whoever asks."""

    overrides: Mapping[date, Override] = field(default_factory=dict)

    def is_business_day(self, day: date) -> bool:
        """Whether banks settle on a day."""
        if override := self.overrides.get(day):
            return override.is_business_day
        return _year(day.year).is_working_day(day)

    def on_or_after(self, day: date) -> date:
        """The first business day from a day on; raises CalendarError without one in a month."""
        for days in range(DAYS_OFF_MAX):
            if self.is_business_day(day + timedelta(days=days)):
                return day + timedelta(days=days)
        raise CalendarError(f"There is no business day within a month of {day}.")

    def value_day_after(self, day: date) -> date:
        """The business day after a day, T+1: takings of the day before are paid then at last.

        So what is paid on a business day is all that was taken on the days before it.
        """
        return self.on_or_after(day + timedelta(days=1))

    def payout_day(self, schedule: PayoutSchedule, *, since: date) -> date:
        """The first day from ``since`` on, on which a schedule pays."""
        if schedule.every is Every.DAY:
            return self.on_or_after(since)
        # The last day named before may be made up for only now, after holidays.
        named = (since + timedelta(days=days) for days in range(-DAYS_OFF_MAX, 2 * DAYS_OFF_MAX))
        paid = (self.on_or_after(day) for day in named if _names(schedule, day))
        return next(day for day in paid if day >= since)


def almaty_day(moment: datetime) -> date:
    """The day in Almaty of an aware moment."""
    if moment.tzinfo is None:
        raise CalendarError("A moment without a time zone has no day.")
    return moment.astimezone(ALMATY).date()


def day_begins_at(day: date) -> datetime:
    """The moment, in UTC, at which a day begins in Almaty."""
    return datetime.combine(day, time.min, tzinfo=ALMATY).astimezone(UTC)


def overrides_from(content: bytes) -> dict[date, Override]:
    """Read an override table; raises CalendarError that says what is wrong with it.

    ``[{"day": "2027-03-26", "is_business_day": false, "source": "…"}]``
    """
    try:
        rows = msgspec.json.decode(content, type=list[Override])
    except msgspec.MsgspecError as error:
        raise CalendarError(f"The calendar's overrides cannot be read: {error}") from None
    overrides = {row.day: row for row in rows}
    if len(overrides) < len(rows):
        raise CalendarError("The calendar's overrides name a day twice.")
    for row in rows:
        if not row.source.strip():
            raise CalendarError(f"The calendar's override of {row.day} names no source.")
    return overrides


def city_calendar() -> BusinessCalendar:
    """The calendar that this place goes by (``CALENDAR_FILE``)."""
    path = settings.CALENDAR_FILE
    return BusinessCalendar(overrides_from(Path(path).read_bytes()) if path else {})


def _names(schedule: PayoutSchedule, day: date) -> bool:
    if schedule.every is Every.WEEK:
        return day.isoweekday() == schedule.on
    return day.day == min(schedule.on, monthrange(day.year, day.month)[1])


@lru_cache(maxsize=64)
def _year(year: int) -> holidays.HolidayBase:
    """A year with its holidays, and the days of weekends that were worked for others."""
    return holidays.country_holidays("KZ", years=year, expand=False)
