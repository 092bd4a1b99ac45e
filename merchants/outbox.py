"""Events, recorded in the transaction that makes them true."""

from typing import Any

from django.db import connection

from merchants.models import Invoice, OutboxEvent


def record_event(*, invoice: Invoice, kind: str, payload: dict[str, Any]) -> OutboxEvent:
    """Record an event in the caller's transaction and, at its commit, wake the open pages."""
    event = OutboxEvent.objects.create(invoice=invoice, type=kind, payload=payload)
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_notify('invoices', %s)", [invoice.token])
    return event


def record_shop_event(*, shop: str, kind: str, payload: dict[str, Any]) -> OutboxEvent:
    """Record an event of a shop, named by its id, in the caller's transaction."""
    return OutboxEvent.objects.create(shop_id=shop, type=kind, payload=payload)
