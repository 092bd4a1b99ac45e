"""Business days, Asia/Almaty: a closed one takes no more entries, and keeps its totals (R120)."""

from datetime import date
from typing import Final

from django.db import connection, transaction

from settlement.clock import today
from settlement.ledger import LedgerError
from settlement.models import ClosedDay

MOVED: Final = """
    SELECT a.code, p.asset, sum(p.amount_tiyn)::text, sum(p.quantity)::text
    FROM settlement_posting p
    JOIN settlement_journalentry e ON e.id = p.entry_id
    JOIN settlement_account a ON a.id = p.account_id
    WHERE e.effective_at < (%s::date + 1)::timestamp AT TIME ZONE 'Asia/Almaty'
      AND e.effective_at >= coalesce((%s::date + 1)::timestamp AT TIME ZONE 'Asia/Almaty',
                                     '-infinity')
    GROUP BY a.code, p.asset
"""
"""What each account and asset moved up to a day, after another or from the beginning."""


class DayError(LedgerError):
    """A day that cannot be closed."""


@transaction.atomic
def close_day(*, day: date, closed_by: str) -> ClosedDay:
    """Close a day, and every day before it that is open; keep what they moved and what stands.

    Waits until nobody books, and lets nobody book meanwhile. Raises DayError for a day that is
    closed already, or is not over in Almaty.
    """
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(4, 1)")
        last = ClosedDay.objects.order_by("-day").first()
        if day >= today() or (last is not None and day <= last.day):
            raise DayError(f"{day} is closed already, or not over")
        cursor.execute(MOVED, [day, last.day if last else None])
        moved = {(code, asset): (tiyn, units) for code, asset, tiyn, units in cursor.fetchall()}
    return ClosedDay.objects.create(
        day=day, closed_by=closed_by, totals=totals_after(last.totals if last else [], moved)
    )


def last_closed_day() -> date | None:
    """The newest closed day; None while none is."""
    return ClosedDay.objects.order_by("-day").values_list("day", flat=True).first()


def totals_after(
    before: list[dict[str, str]], moved: dict[tuple[str, str], tuple[str, str]]
) -> list[dict[str, str]]:
    """What each account and asset held before, and what moved, as totals after."""
    held = {(one["account"], one["asset"]): (one["tiyn"], one["units"]) for one in before}
    totals = []
    for key in sorted(held.keys() | moved.keys()):
        tiyn, units = held.get(key, ("0", "0"))
        moved_tiyn, moved_units = moved.get(key, ("0", "0"))
        totals.append(
            {
                "account": key[0],
                "asset": key[1],
                "moved_tiyn": moved_tiyn,
                "moved_units": moved_units,
                "tiyn": str(int(tiyn) + int(moved_tiyn)),
                "units": str(int(units) + int(moved_units)),
            }
        )
    return totals
