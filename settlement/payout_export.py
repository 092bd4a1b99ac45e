"""A batch as the bank's file: written once, kept for ever, and given again as it was."""

import hashlib

from django.db import transaction

from settlement.bank_files.orders import BankFile, OrdersRefusedError, Party, PaymentBatch
from settlement.bank_files.orders import PaymentOrder as Order
from settlement.bank_files.writing import OrdersForm, write_orders
from settlement.clock import database_now
from settlement.models import Payout, PayoutBatch, PayoutExport
from settlement.payout_states import PayoutError, PayoutState
from settlement.payouts import (
    checked_official,
    locked_batch,
    require_payable_now,
    require_state,
    same_official,
)


@transaction.atomic
def export_batch(
    *, batch: int, exported_by: str, form: OrdersForm | None = None
) -> tuple[BankFile, str]:
    """Write an approved batch for the bank; return its file and that file's SHA-256.

    Whoever asks again gets the same bytes: there is no second order (R125); warnings come with the
    first only. ``form`` is 1C where none is said. Hand the file out after the transaction only.
    Raises PayoutError, also where another form is asked for than was written, or by whoever
    approved it.
    """
    official = checked_official(exported_by)
    row = locked_batch(batch)
    written = PayoutExport.objects.filter(batch=row).first()
    if written is None:
        require_state(row, PayoutState.APPROVED, verb="exported")
        require_payable_now(row)
        _check_exporter(row, official)
        return _write(row, form=form or OrdersForm.ONE_C, exported_by=official)
    if form not in {None, written.form}:
        raise PayoutError(
            f"{row.reference} was written as {written.form}: a second file would be a second order."
        )
    file = BankFile(
        name=written.file_name, media_type=written.media_type, content=bytes(written.content)
    )
    return file, written.sha256


def _check_exporter(batch: PayoutBatch, official: str) -> None:
    """Raise PayoutError for who approved it: also what beat prepared passes two people."""
    if same_official(official, batch.approval.approved_by):
        raise PayoutError(
            f"{batch.reference} was approved by {batch.approval.approved_by}:"
            " another official exports it."
        )


def _write(batch: PayoutBatch, *, form: OrdersForm, exported_by: str) -> tuple[BankFile, str]:
    payer = Party(
        name=batch.payer_name,
        bin_or_iin=batch.payer_bin_or_iin,
        iban=batch.payer_iban,
        kbe=batch.payer_kbe,
    )
    orders = tuple(_order(payout) for payout in batch.payouts.order_by("pk"))
    payment = PaymentBatch(
        reference=batch.reference,
        payer=payer,
        created_at=database_now(),
        value_on=batch.value_on,
        orders=orders,
    )
    try:
        file = write_orders(payment, form=form)
    except (OrdersRefusedError, ValueError) as error:
        raise PayoutError(f"{batch.reference} cannot be written as {form}: {error}") from error
    sha256 = hashlib.sha256(file.content).hexdigest()
    PayoutExport.objects.create(
        batch=batch,
        form=form,
        file_name=file.name,
        media_type=file.media_type,
        content=file.content,
        sha256=sha256,
        exported_by=exported_by,
    )
    return file, sha256


def _order(payout: Payout) -> Order:
    return Order(
        number=payout.pk,
        payee=Party(
            name=payout.payee_name,
            bin_or_iin=payout.payee_bin_or_iin,
            iban=payout.payee_iban,
            kbe=payout.payee_kbe,
        ),
        amount_tiyn=payout.amount_tiyn,
        purpose=payout.purpose,
        knp=payout.knp,
    )
