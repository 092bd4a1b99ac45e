"""What people must look at: rows that stand until they are closed, each written once.

An alert stops nothing by itself. It is logged when it is raised; ``manage.py networks`` shows those
that are open, and ``manage.py alerts`` closes what people have dealt with.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Final

import structlog
from django.db.models import Case, When
from django.db.models.functions import Now

from chains.models import Alert

log = structlog.get_logger(__name__)


class AlertKind(StrEnum):
    """Why somebody must look."""

    TOKEN_CHANGED = "token changed"  # noqa: S105 -- a coin, no secret
    TOKEN_PAUSED = "token paused"  # noqa: S105
    TOKEN_HALTED = "token halted"  # noqa: S105
    ADDRESS_BLOCKED = "address blocked"
    ADDRESS_DELEGATED = "address delegated"
    OTHER_NETWORK = "paid on another network"
    BALANCE_UNEXPLAINED = "balance unexplained"
    FINALITY_STALLED = "finality stalled"
    NOT_TRACED = "not traced"


HAPPENS_ONCE: Final = frozenset({AlertKind.TOKEN_CHANGED, AlertKind.OTHER_NETWORK})


@dataclass(frozen=True, slots=True, kw_only=True)
class AlertFact:
    """An open alert."""

    id: int
    network: str
    kind: AlertKind
    subject: str
    evidence: str
    detail: str
    created_at: datetime


def raise_alert(
    *, network: str, kind: AlertKind, subject: str, detail: str, evidence: str = ""
) -> bool:
    """Raise an alert; False where it stands already.

    ``evidence`` tells one occurrence from another, such as a transaction. What happened once stays
    closed once it was; what may begin again opens again.
    """
    row, created = Alert.objects.get_or_create(
        network=network,
        kind=kind,
        subject=subject,
        evidence=evidence,
        defaults={"detail": detail},
    )
    opened = created
    if not created and kind not in HAPPENS_ONCE:
        closed = Alert.objects.filter(pk=row.pk, closed_at__isnull=False)
        opened = closed.update(closed_at=None, detail=detail, created_at=Now()) == 1
    if opened:
        log.error(
            "alert", network=network, kind=str(kind), subject=subject, detail=detail, at=evidence
        )
    return opened


def close_alerts(*, network: str, kind: AlertKind, subject: str, evidence: str = "") -> int:
    """Close what is open of one kind about one subject (and evidence); return how many."""
    rows = Alert.objects.filter(network=network, kind=kind, subject=subject, closed_at=None)
    closed = (rows.filter(evidence=evidence) if evidence else rows).update(closed_at=Now())
    if closed:
        log.warning("alert over", network=network, kind=str(kind), subject=subject)
    return closed


def close_alert_numbers(ids: Collection[int]) -> int:
    """Close open alerts that people have dealt with, by their numbers; return how many.

    What goes on all the same is raised again, unless its kind happens once.
    """
    closed = Alert.objects.filter(pk__in=ids, closed_at=None).update(closed_at=Now())
    log.warning("alerts closed by hand", ids=sorted(ids), closed=closed)
    return closed


def close_alert_kind(*, network: str, kind: AlertKind) -> int:
    """Close all open alerts of one kind on a network, as ``close_alert_numbers`` does."""
    rows = Alert.objects.filter(network=network, kind=kind, closed_at=None)
    closed = rows.update(closed_at=Now())
    log.warning("alerts closed by hand", network=network, kind=str(kind), closed=closed)
    return closed


def open_evidence(*, network: str, kind: AlertKind) -> Mapping[str, frozenset[str]]:
    """The subjects of a network's open alerts of one kind, by their evidence."""
    found: dict[str, frozenset[str]] = {}
    rows = Alert.objects.filter(network=network, kind=kind, closed_at=None)
    for evidence, subject in rows.values_list("evidence", "subject"):
        found[evidence] = found.get(evidence, frozenset()) | {subject}
    return found


def open_alerts(
    *, network: str, limit: int = 100, kind: AlertKind | None = None
) -> Sequence[AlertFact]:
    """A network's open alerts, of one kind or of all, oldest first.

    Those that anybody may raise come after all others: a flood of them hides nothing.
    """
    rows = Alert.objects.filter(network=network, closed_at=None)
    by_anybody = Case(
        When(kind=AlertKind.OTHER_NETWORK, then=2),
        When(kind=AlertKind.NOT_TRACED, then=1),
        default=0,
    )
    ordered = rows.order_by(by_anybody, "pk")
    if kind is not None:
        ordered = ordered.filter(kind=kind)
    return [
        AlertFact(
            id=row.pk,
            network=row.network,
            kind=AlertKind(row.kind),
            subject=row.subject,
            evidence=row.evidence,
            detail=row.detail,
            created_at=row.created_at,
        )
        for row in ordered[:limit]
    ]
