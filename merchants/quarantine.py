"""Transfers that could not be applied: set apart with the reason, so that the others go on."""

from collections.abc import Collection

import structlog
from django.db.models import F, QuerySet
from django.db.models.functions import Now

from chains.transfers import TransferFact
from merchants.models import QuarantinedTransfer

log = structlog.get_logger(__name__)

REASON_MAX = 500


def set_apart(fact: TransferFact, *, reason: str) -> None:
    """Keep a transfer that could not be applied, in the caller's transaction, and log an error."""
    log.error("transfer quarantined", identity=fact.identity, reason=reason)
    QuarantinedTransfer.objects.update_or_create(
        identity=fact.identity,
        defaults={
            "reason": reason[:REASON_MAX],
            "attempts": F("attempts") + 1,
            "tried_at": Now(),
            "resolved_at": None,
        },
        create_defaults={
            "network": fact.network,
            "reference": fact.reference,
            "reason": reason[:REASON_MAX],
        },
    )


def release(facts: Collection[TransferFact]) -> None:
    """Note that transfers were applied, those of them that had been set apart."""
    rows = set_apart_now().filter(identity__in=[fact.identity for fact in facts])
    rows.update(resolved_at=Now())


def set_apart_now() -> QuerySet[QuarantinedTransfer]:
    """The transfers that wait in quarantine, oldest first."""
    return QuarantinedTransfer.objects.filter(resolved_at=None).order_by("pk")
