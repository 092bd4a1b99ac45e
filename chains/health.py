"""How each network's nodes do, as the scans last found them; for dashboards and for alarms."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from django.db import transaction
from django.db.models.functions import Now

from chains.models import Cursor, NodeHealth
from chains.pool import EndpointHealth


@dataclass(frozen=True, slots=True, kw_only=True)
class EndpointReport:
    """One endpoint; ``name`` is its host and port.

    ``lag_blocks`` is how far its tip is behind the best tip of the network's endpoints.
    ``last_error`` stays, with its time, after the endpoint answers again (``is_up``).
    """

    name: str
    speaks: bool
    is_up: bool
    tip_height: int | None
    lag_blocks: int | None
    agreed_height: int | None
    latency_ms: int | None
    last_error: str
    last_error_at: datetime | None
    told_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkHealth:
    """One network; times are UTC.

    ``scanned_height`` is the last block that was applied, ``behind_blocks`` how many are known to
    wait, ``caught_up_at`` when the tip was last reached.
    """

    network: str
    scanned_height: int | None
    behind_blocks: int | None
    caught_up_at: datetime | None
    endpoints: tuple[EndpointReport, ...]

    @property
    def is_up(self) -> bool:
        """Whether some endpoint could be read when last told of."""
        return any(one.is_up for one in self.endpoints)


def record_health(*, network: str, endpoints: Sequence[EndpointHealth]) -> None:
    """Store what a pool knows of a network's endpoints, in the registry's order."""
    with transaction.atomic():
        for position, one in enumerate(endpoints):
            failure = {"last_error": one.error, "last_error_at": Now()} if one.error else {}
            NodeHealth.objects.update_or_create(
                network=network,
                position=position,
                defaults={
                    "endpoint": one.name,
                    "speaks": one.speaks,
                    "tip_height": one.tip_height,
                    "agreed_height": one.agreed_height,
                    "latency_ms": one.latency_ms,
                    "is_up": not one.error,
                    "told_at": Now(),
                    **failure,
                },
            )
        NodeHealth.objects.filter(network=network, position__gte=len(endpoints)).delete()


def health_of(*, network: str) -> NetworkHealth:
    """How a network does; without endpoints where no scan told of any yet."""
    cursor = Cursor.objects.filter(network=network).first()
    rows = list(NodeHealth.objects.filter(network=network).order_by("position"))
    best = max((row.tip_height for row in rows if row.tip_height is not None), default=None)
    scanned = cursor.height if cursor else None
    return NetworkHealth(
        network=network,
        scanned_height=scanned,
        behind_blocks=blocks_between(scanned, best),
        caught_up_at=cursor.caught_up_at if cursor else None,
        endpoints=tuple(
            EndpointReport(
                name=row.endpoint,
                speaks=row.speaks,
                is_up=row.is_up,
                tip_height=row.tip_height,
                lag_blocks=blocks_between(row.tip_height, best),
                agreed_height=row.agreed_height,
                latency_ms=row.latency_ms,
                last_error=row.last_error,
                last_error_at=row.last_error_at,
                told_at=row.told_at,
            )
            for row in rows
        ),
    )


def blocks_between(lower: int | None, upper: int | None) -> int | None:
    """How far ``lower`` is behind ``upper``, never below zero; None where one is unknown."""
    return None if lower is None or upper is None else max(0, upper - lower)
