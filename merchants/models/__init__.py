"""The rows of merchants and their invoices."""

from merchants.models.events import OutboxEvent, QuarantinedTransfer, TransferCursor
from merchants.models.invoices import Invoice, InvoicePayment, PaymentOption
from merchants.models.shops import Merchant, Shop

__all__ = [
    "Invoice",
    "InvoicePayment",
    "Merchant",
    "OutboxEvent",
    "PaymentOption",
    "QuarantinedTransfer",
    "Shop",
    "TransferCursor",
]
