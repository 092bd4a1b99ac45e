"""The states of an invoice: the edges that it may move along, declared once."""

from collections.abc import Mapping
from datetime import datetime
from typing import Final

from merchants.models import Invoice

Status = Invoice.Status

EDGES: Final[Mapping[Status, frozenset[Status]]] = {
    Status.NEW: frozenset({Status.PROCESSING, Status.SETTLED, Status.EXPIRED}),
    Status.PROCESSING: frozenset({Status.NEW, Status.SETTLED, Status.EXPIRED}),
    Status.SETTLED: frozenset({Status.REVERSED}),
    Status.EXPIRED: frozenset({Status.PROCESSING, Status.SETTLED}),
    Status.REVERSED: frozenset({Status.SETTLED}),
}
"""From expired: a payment was made in time and found late."""


class IllegalEdgeError(Exception):
    """A move that the table of edges does not declare: a bug, never a payer's doing."""


def move(invoice: Invoice, status: Status, *, now: datetime) -> None:
    """Move an invoice, locked by the caller, to a state; nothing happens if it is there already.

    ``now`` is the database's time. Raises IllegalEdgeError.
    """
    before = Status(invoice.status)
    if status is before:
        return
    if status not in EDGES[before]:
        raise IllegalEdgeError(f"{before} to {status} is not declared.")
    invoice.status = status
    invoice.settled_at = now if status is Status.SETTLED else invoice.settled_at
    invoice.save(update_fields=["status", "settled_at"])
