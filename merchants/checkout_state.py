"""What an open checkout page must know now: the same answer for polling and for live events."""

from typing import Any

from django.utils import timezone

from chains.networks import registry
from chains.transfers import transfers_of
from merchants.invoices import Due, seconds_left
from merchants.models import Invoice


def state_of(invoice: Invoice, *, due: Due) -> dict[str, Any]:
    """Return the state as plain JSON: status, seconds left, and each payment's confirmations.

    ``due`` is the invoice's own, from ``due_of``.
    """
    assets = registry().assets
    facts = transfers_of(references=[str(invoice.pk)])
    paid_in_full = due.is_met
    return {
        # The page is drawn anew when this changes.
        "version": f"{invoice.status} {paid_in_full} {invoice.payments.count()}",
        "paid_in_full": paid_in_full,
        "status": invoice.status,
        "seconds_left": seconds_left(invoice, timezone.now()),
        "payments": [
            {
                "txid": fact.txid,
                "symbol": assets[fact.asset].symbol,
                "state": fact.state,
                "confirmations": fact.confirmations,
            }
            for fact in facts
        ],
    }
