"""A closed day takes no more entries; what is learnt of it later counts for the next."""

import threading
from datetime import UTC, date, datetime, timedelta

import pytest
from django.core.management import CommandError, call_command
from django.db import IntegrityError, connection, transaction

from settlement.accounts import COINS_HELD, ROUNDING
from settlement.days import DayError, close_day, last_closed_day
from settlement.ledger import Entry, Line, post_entries
from settlement.models import ClosedDay, JournalEntry
from tests.conftest import become_the_app
from tests.settlement.demand import BTC

DAY = date(2026, 3, 10)
BEGIN = datetime(2026, 3, 9, 19, tzinfo=UTC)
"""Midnight in Almaty."""
END = BEGIN + timedelta(days=1)
MOMENT = timedelta(microseconds=1)


def book(at: datetime, *, tiyn: int = 5) -> JournalEntry:
    lines = [
        Line(account=COINS_HELD, amount_tiyn=tiyn),
        Line(account=ROUNDING, amount_tiyn=-tiyn),
    ]
    source = f"{at} {JournalEntry.objects.count()}"
    with transaction.atomic():
        entry = Entry(kind="test", source=source, subject="x", lines=lines, effective_at=at)
        [pk] = post_entries([entry])
    return JournalEntry.objects.get(pk=pk)


def write(**fields: object) -> None:
    """By hand, past the function that knows what day is open."""
    now = JournalEntry.objects.count()
    with transaction.atomic():
        JournalEntry.objects.create(
            **{"kind": "t", "source": str(now), "subject": "x", "occurred_at": BEGIN, **fields}
        )


@pytest.mark.django_db
@pytest.mark.usefixtures("app_role")
@pytest.mark.case("R120")
def test_what_is_learnt_late_counts_for_the_first_open_day_and_keeps_its_time() -> None:
    before = book(END - MOMENT)
    assert before.effective_at == before.occurred_at == END - MOMENT
    close_day(day=DAY, closed_by="Aigul")
    for at in (BEGIN - timedelta(days=300), END - MOMENT):
        late = book(at)
        assert (late.occurred_at, late.effective_at) == (at, END)
    assert book(END).effective_at == END


@pytest.mark.django_db
@pytest.mark.usefixtures("app_role")
@pytest.mark.case("R120")
def test_nothing_takes_effect_in_the_future() -> None:
    ahead = datetime.now(UTC) + timedelta(hours=1)
    entry = book(ahead)
    assert entry.occurred_at == ahead
    assert entry.effective_at < ahead
    with pytest.raises(IntegrityError, match="still to come"):
        write(effective_at=ahead)


@pytest.mark.django_db
@pytest.mark.usefixtures("app_role")
@pytest.mark.case("R120")
def test_the_database_refuses_an_entry_of_a_closed_day() -> None:
    close_day(day=DAY, closed_by="Aigul")
    with pytest.raises(IntegrityError, match="closed day"):
        write(effective_at=END - MOMENT)


@pytest.mark.django_db
@pytest.mark.usefixtures("app_role")
@pytest.mark.parametrize(
    "fields",
    [{"booked_at": BEGIN}, {"booked_xid": 3}],
    ids=["time", "transaction"],
)
def test_nobody_says_that_an_entry_was_booked_before(fields: dict[str, object]) -> None:
    with pytest.raises(IntegrityError, match="says itself"):
        write(effective_at=BEGIN, **fields)


@pytest.mark.django_db
@pytest.mark.usefixtures("app_role")
def test_totals_are_kept_day_by_day() -> None:
    book(BEGIN - MOMENT, tiyn=100)
    book(BEGIN, tiyn=20)
    book(END - MOMENT, tiyn=3)
    book(END, tiyn=7)
    first = close_day(day=DAY - timedelta(days=1), closed_by="Aigul")
    second = close_day(day=DAY, closed_by="Bolat")
    assert last_closed_day() == DAY
    assert (first.closed_by, second.closed_by) == ("Aigul", "Bolat")
    row = {"account": "coins_held", "asset": "", "moved_units": "0", "units": "0"}
    assert first.totals[0] == {**row, "moved_tiyn": "100", "tiyn": "100"}
    assert second.totals[0] == {**row, "moved_tiyn": "23", "tiyn": "123"}
    assert [one["account"] for one in second.totals] == ["coins_held", "rounding"]
    book(BEGIN, tiyn=50)
    third = close_day(day=DAY + timedelta(days=1), closed_by="Aigul")
    assert third.totals[0] == {**row, "moved_tiyn": "57", "tiyn": "180"}


@pytest.mark.django_db
@pytest.mark.usefixtures("app_role")
def test_a_day_is_closed_once_after_those_before_it_and_when_it_is_over() -> None:
    close_day(day=DAY, closed_by="Aigul")
    with connection.cursor() as cursor:
        cursor.execute("SELECT (clock_timestamp() AT TIME ZONE 'Asia/Almaty')::date")
        today = cursor.fetchone()[0]
    for day in (DAY, DAY - timedelta(days=1), today, today + timedelta(days=1)):
        with pytest.raises(DayError):
            close_day(day=day, closed_by="Aigul")
        with pytest.raises(IntegrityError, match="not over"), transaction.atomic():
            ClosedDay.objects.create(day=day, closed_by="Aigul", totals=[])


@pytest.mark.django_db
@pytest.mark.usefixtures("app_role")
def test_the_command_closes_a_day_in_somebodys_name() -> None:
    call_command("close_day", str(DAY), by="Aigul")
    assert ClosedDay.objects.get().closed_by == "Aigul"
    with pytest.raises(CommandError, match="closed already"):
        call_command("close_day", str(DAY), by="Aigul")


def in_threads(*jobs: object) -> None:
    def run(job: object) -> None:
        become_the_app()
        try:
            job()  # type: ignore[operator]
        finally:
            connection.close()

    threads = [threading.Thread(target=run, args=[job]) for job in jobs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


@pytest.mark.case("R120")
def test_the_close_counts_what_was_being_booked(committed: None, app_role: None) -> None:
    """A booking under way when the day is closed is in its totals; one that comes is after it."""
    posted, closing = threading.Event(), threading.Event()

    def under_way() -> None:
        with transaction.atomic():
            book(BEGIN)
            posted.set()
            assert closing.wait(20)

    def close() -> None:
        assert posted.wait(20)
        # It waits for the booking, so somebody else must see it wait and let that go on.
        close_day(day=DAY, closed_by="Aigul")

    def watch() -> None:
        with connection.cursor() as cursor:
            while True:
                cursor.execute(
                    "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
                    " AND classid = 4 AND database = "
                    "(SELECT oid FROM pg_database WHERE datname = current_database())"
                )
                if cursor.fetchone()[0]:
                    closing.set()
                    return

    in_threads(under_way, close, watch)
    assert ClosedDay.objects.get().totals[0]["moved_tiyn"] == "5"
    assert book(BEGIN).effective_at == END


@pytest.mark.case("R120")
def test_without_the_lock_the_close_misses_what_was_being_booked(committed: None) -> None:
    """The negative twin: the same order of events, with nothing that waits."""
    posted, closed = threading.Event(), threading.Event()

    def under_way() -> None:
        with connection.cursor() as cursor:
            cursor.execute("SET ROLE NONE; SET session_replication_role = replica")
        with transaction.atomic():
            JournalEntry.objects.create(
                kind="t", source="s", subject="s", occurred_at=BEGIN, effective_at=BEGIN
            )
            posted.set()
            assert closed.wait(20)

    def close() -> None:
        assert posted.wait(20)
        close_day(day=DAY, closed_by="Aigul")
        closed.set()

    in_threads(under_way, close)
    last = ClosedDay.objects.get()
    assert last.totals == []
    assert JournalEntry.objects.get().effective_at < END


def test_coins_of_a_closed_day_are_counted_by_asset(committed: None, app_role: None) -> None:
    lines = [
        Line(account=COINS_HELD, amount_tiyn=1, asset=BTC.caip19, quantity=10**40),
        Line(account=ROUNDING, amount_tiyn=-1, asset=BTC.caip19, quantity=-(10**40)),
    ]
    with transaction.atomic():
        post_entries([Entry(kind="t", source="s", subject="s", lines=lines, effective_at=BEGIN)])
    assert close_day(day=DAY, closed_by="Aigul").totals[0]["units"] == str(10**40)
