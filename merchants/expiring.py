"""Expire invoices whose time is over: only once everything that could have paid them is known."""

from datetime import UTC, datetime
from typing import Final
from uuid import UUID

from django.db import transaction
from django.db.models import Exists, OuterRef, Q, QuerySet

from chains.networks import registry
from chains.transfers import caught_up_at, last_revision
from merchants.invoices import IN_TIME, due_of
from merchants.models import Invoice, PaymentOption, TransferCursor
from merchants.outbox import record_event
from merchants.states import Status, move
from settlement.clock import database_now

NEVER: Final = datetime.min.replace(tzinfo=UTC)


def expire_invoices(*, limit: int = 500) -> int:
    """Expire open invoices whose time is over by the database's clock; return how many.

    One goes on while payments in full that were seen in time are in blocks, or have time left to
    come into one (``confirm_by``). None expires before every network with an address of its own
    was read past the deadline, and what was found there applied (R15, R25, R71). Works through
    all that are due, ``limit`` at a time.
    """
    now = database_now()
    expired, after = 0, (NEVER, UUID(int=0))
    while True:
        known_until = _known_until()
        due = _overdue(now, known_until)
        later = Q(expires_at__gt=after[0]) | Q(expires_at=after[0], pk__gt=after[1])
        page = list(due.filter(later).values_list("expires_at", "pk")[:limit])
        for _expires_at, pk in page:
            expired += _expire(due, pk, known_until, now)
        if len(page) < limit:
            return expired
        after = page[-1]


def _known_until() -> dict[str, datetime]:
    """For each listed network, the moment up to which the invoices know everything on it.

    A network that left the registry is read no more, so nobody waits for it.
    """
    applied = dict(TransferCursor.objects.values_list("network", "revision"))
    known = {}
    for network in registry().networks:
        # In this order: what is found after the look at the clock comes after that time.
        until = caught_up_at(network=network)
        is_applied = last_revision(network=network) <= applied.get(network, 0)
        known[network] = until if until is not None and is_applied else NEVER
    return known


def _overdue(now: datetime, known_until: dict[str, datetime]) -> QuerySet[Invoice]:
    rows = Invoice.objects.filter(
        status__in=[Status.NEW, Status.PROCESSING], expires_at__lte=now
    ).order_by("expires_at", "pk")
    for network, until in known_until.items():
        waits = PaymentOption.objects.filter(invoice=OuterRef("pk"), network=network)
        rows = rows.exclude(Exists(waits.exclude(address="")), expires_at__gte=until)
    return rows


@transaction.atomic
def _expire(
    due: QuerySet[Invoice], pk: UUID, known_until: dict[str, datetime], now: datetime
) -> bool:
    invoice = due.select_for_update(skip_locked=True, of=("self",)).filter(pk=pk).first()
    if invoice is None or due_of(invoice).is_met:
        return False
    if due_of(invoice, counts=IN_TIME).is_met:
        # Its payments wait in the mempool beyond their time; were they mined before its end?
        chosen = invoice.options.exclude(address="").values_list("network", flat=True)
        known = [known_until[one] for one in chosen if one in known_until]
        if min(known, default=now) <= invoice.confirm_by:
            return False
    move(invoice, Status.EXPIRED, now=now)
    record_event(
        invoice=invoice, kind=f"invoice.{invoice.status}", payload={"status": invoice.status}
    )
    return True
