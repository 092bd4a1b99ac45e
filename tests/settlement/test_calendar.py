"""Business days of Kazakhstan, T+1, and the days on which shops are paid."""

import json
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import settings as trying
from hypothesis import strategies as st
from pytest_django.fixtures import Settings

from settlement.calendar import (
    BusinessCalendar,
    CalendarError,
    Every,
    Override,
    PayoutSchedule,
    almaty_day,
    city_calendar,
    day_begins_at,
    overrides_from,
)

CALENDAR = BusinessCalendar()
DAILY = PayoutSchedule(every=Every.DAY)


@pytest.mark.parametrize(
    ("day", "is_business_day"),
    [
        (date(2024, 8, 30), False),  # Constitution Day, through 2025
        (date(2024, 5, 4), True),  # a Saturday that was worked for Wednesday the 8th
        (date(2024, 5, 8), False),
        (date(2025, 9, 1), False),  # of 2025 fell on a Saturday
        (date(2026, 8, 31), True),  # of 2026: there is none, and the 30th is a Sunday
        (date(2027, 3, 15), False),  # from 2027
        (date(2027, 8, 30), True),
        (date(2026, 3, 20), True),
        (date(2026, 3, 23), False),  # Nauryz, Saturday to Monday
        (date(2026, 3, 24), False),  # the Saturday's
        (date(2026, 3, 25), False),  # the Sunday's
        (date(2026, 3, 26), True),
        (date(2026, 10, 26), False),  # Republic Day on a Sunday
        (date(2027, 10, 25), False),
        (date(2026, 12, 16), False),
        (date(2026, 11, 21), False),  # a Saturday
        (date(2026, 11, 24), True),
    ],
)
def test_business_days(day: date, is_business_day: bool) -> None:
    assert CALENDAR.is_business_day(day) is is_business_day


@pytest.mark.parametrize(
    ("day", "paid_on"),
    [
        (date(2026, 11, 24), date(2026, 11, 25)),
        (date(2026, 11, 27), date(2026, 11, 30)),  # over a weekend
        (date(2026, 11, 28), date(2026, 11, 30)),
        (date(2026, 3, 20), date(2026, 3, 26)),  # over Nauryz
        (date(2026, 12, 15), date(2026, 12, 17)),
        (date(2026, 12, 31), date(2027, 1, 5)),  # the 2nd is a Saturday, made up for on the 4th
    ],
)
def test_takings_are_paid_on_the_next_business_day(day: date, paid_on: date) -> None:
    assert CALENDAR.value_day_after(day) == paid_on


@pytest.mark.parametrize(
    ("schedule", "since", "paid_on"),
    [
        (DAILY, date(2026, 11, 24), date(2026, 11, 24)),
        (DAILY, date(2026, 11, 28), date(2026, 11, 30)),
        (PayoutSchedule(every=Every.WEEK, on=1), date(2026, 11, 24), date(2026, 11, 30)),
        (PayoutSchedule(every=Every.WEEK, on=2), date(2026, 11, 24), date(2026, 11, 24)),
        # Monday the 26th of October is made up for on Tuesday, also seen from Tuesday.
        (PayoutSchedule(every=Every.WEEK, on=1), date(2026, 10, 24), date(2026, 10, 27)),
        (PayoutSchedule(every=Every.WEEK, on=1), date(2026, 10, 27), date(2026, 10, 27)),
        (PayoutSchedule(every=Every.WEEK, on=1), date(2026, 10, 28), date(2026, 11, 2)),
        (PayoutSchedule(every=Every.MONTH, on=1), date(2026, 11, 2), date(2026, 11, 2)),
        (PayoutSchedule(every=Every.MONTH, on=1), date(2026, 11, 3), date(2026, 12, 1)),
        # The last days of October 2026 and of January and February 2027 are of weekends.
        (PayoutSchedule(every=Every.MONTH, on=31), date(2026, 11, 1), date(2026, 11, 2)),
        (PayoutSchedule(every=Every.MONTH, on=31), date(2026, 11, 3), date(2026, 11, 30)),
        (PayoutSchedule(every=Every.MONTH, on=31), date(2027, 2, 1), date(2027, 2, 1)),
        (PayoutSchedule(every=Every.MONTH, on=31), date(2027, 2, 2), date(2027, 3, 1)),
    ],
)
def test_days_of_payouts(schedule: PayoutSchedule, since: date, paid_on: date) -> None:
    assert CALENDAR.payout_day(schedule, since=since) == paid_on


SCHEDULES = st.one_of(
    st.just(DAILY),
    st.integers(1, 5).map(lambda on: PayoutSchedule(every=Every.WEEK, on=on)),
    st.integers(1, 31).map(lambda on: PayoutSchedule(every=Every.MONTH, on=on)),
)


@trying(deadline=None)
@given(schedule=SCHEDULES, since=st.dates(date(2024, 1, 1), date(2029, 12, 31)))
def test_a_payout_is_on_a_business_day_and_the_same_seen_from_any_day_before(
    schedule: PayoutSchedule, since: date
) -> None:
    day = CALENDAR.payout_day(schedule, since=since)
    assert CALENDAR.is_business_day(day)
    assert since <= day <= since + timedelta(days=45)
    assert CALENDAR.payout_day(schedule, since=day) == day
    between = since + (day - since) // 2
    assert CALENDAR.payout_day(schedule, since=between) == day


@trying(deadline=None)
@given(day=st.dates(date(2024, 1, 1), date(2029, 12, 31)))
def test_what_is_paid_on_a_business_day_is_all_of_the_days_before(day: date) -> None:
    payday = CALENDAR.on_or_after(day)
    assert CALENDAR.value_day_after(payday - timedelta(days=1)) == payday
    assert CALENDAR.value_day_after(payday) > payday


def test_the_operator_overrides_week_and_holidays(tmp_path: Path, settings: Settings) -> None:
    path = tmp_path / "calendar.json"
    settings.CALENDAR_FILE = str(path)
    rows = [
        {"day": "2026-11-28", "is_business_day": True, "source": "Government decree 1"},
        {"day": "2026-11-30", "is_business_day": False, "source": "Government decree 1"},
        {"day": "2026-05-27", "is_business_day": True, "source": "Kurban Ait announced"},
    ]
    path.write_text(json.dumps(rows))
    calendar = city_calendar()
    assert calendar.value_day_after(date(2026, 11, 27)) == date(2026, 11, 28)
    assert calendar.value_day_after(date(2026, 11, 28)) == date(2026, 12, 1)
    assert calendar.is_business_day(date(2026, 5, 27))
    settings.CALENDAR_FILE = ""
    assert not city_calendar().is_business_day(date(2026, 5, 27))


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{}",
        b'[{"day": "2026-02-30", "is_business_day": true, "source": "x"}]',
        b'[{"day": "2026-02-03", "is_business_day": true}]',
        b'[{"day": "2026-02-03", "is_business_day": true, "source": " "}]',
        b'[{"day": "2026-02-03", "is_business_day": 1, "source": "x"}]',
        b'[{"day": "2026-02-03", "is_business_day": true, "source": "x", "why": ""}]',
        b"[%b, %b]" % ((b'{"day": "2026-02-03", "is_business_day": true, "source": "x"}',) * 2),
    ],
)
def test_overrides_that_cannot_be_meant(content: bytes) -> None:
    with pytest.raises(CalendarError):
        overrides_from(content)


def test_a_table_without_business_days_is_refused_and_not_walked_for_ever() -> None:
    first = date(2026, 1, 1)
    days = [first + timedelta(days=number) for number in range(60)]
    closed = {day: Override(day=day, is_business_day=False, source="x") for day in days}
    with pytest.raises(CalendarError, match="2026-01-02"):
        BusinessCalendar(closed).value_day_after(first)


@pytest.mark.parametrize(
    ("every", "on"), [("day", 1), ("week", 0), ("week", 6), ("month", 0), ("month", 32)]
)
def test_schedules_that_cannot_be_meant(every: str, on: int) -> None:
    with pytest.raises(CalendarError):
        PayoutSchedule(every=Every(every), on=on)


def test_a_day_is_almatys() -> None:
    assert almaty_day(datetime(2026, 11, 24, 18, 59, tzinfo=UTC)) == date(2026, 11, 24)
    assert almaty_day(datetime(2026, 11, 24, 19, 0, tzinfo=UTC)) == date(2026, 11, 25)
    assert day_begins_at(date(2026, 11, 25)) == datetime(2026, 11, 24, 19, 0, tzinfo=UTC)
    # Before the first of March 2024 the city was six hours ahead.
    assert day_begins_at(date(2024, 2, 29)) == datetime(2024, 2, 28, 18, 0, tzinfo=UTC)
    with pytest.raises(CalendarError):
        almaty_day(datetime(2026, 11, 24, 12, 0))  # noqa: DTZ001
