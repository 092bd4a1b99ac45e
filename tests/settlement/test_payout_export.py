"""A batch is written once; whoever asks again gets the same bytes and no second order."""

import hashlib
import zipfile
from dataclasses import replace
from io import BytesIO

import pytest
from django.db import IntegrityError, transaction

from settlement.bank_files.writing import OrdersForm
from settlement.models import Payout, PayoutExport
from settlement.payout_export import export_batch
from settlement.payout_states import PayoutError, PayoutState, batch_facts, payouts_unknown
from settlement.payouts import approve_batch, cancel_batch, hold_payouts
from tests.settlement.paying import in_transit, owe, prepare, terms

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("app_role")]


def approved() -> int:
    owe("aigul", 450_000)
    batch = prepare(*terms("aigul")).batch
    assert batch is not None
    approve_batch(batch=batch, approved_by="Erlan")
    return batch


@pytest.mark.case("R125")
@pytest.mark.parametrize("form", list(OrdersForm))
def test_a_batch_written_twice_is_the_same_file(form: OrdersForm) -> None:
    batch = approved()
    first, sha256 = export_batch(batch=batch, exported_by="Dana", form=form)
    assert bool(first.warnings) == (form is OrdersForm.ONE_C_CP1251)
    for asked in (None, form):
        again, same = export_batch(batch=batch, exported_by="Erlan", form=asked)
        assert (again, same) == (replace(first, warnings=()), sha256)
    assert sha256 == hashlib.sha256(first.content).hexdigest()
    assert bytes(PayoutExport.objects.get().content) == first.content
    payout = Payout.objects.get()
    content = first.content
    if form is OrdersForm.XLSX:
        with zipfile.ZipFile(BytesIO(content)) as book:
            content = b"".join(book.read(name) for name in book.namelist())
    assert str(payout.pk).encode() in content
    assert payout.payee_iban.encode() in content
    others = [one for one in OrdersForm if one is not form]
    for other in others:
        with pytest.raises(PayoutError, match="second order"):
            export_batch(batch=batch, exported_by="Dana", form=other)


@pytest.mark.case("R125")
def test_what_may_have_been_paid_is_neither_cancelled_nor_paid_again() -> None:
    batch = approved()
    export_batch(batch=batch, exported_by="Dana")
    assert [one.state for one in payouts_unknown()] == [PayoutState.EXPORTED]
    with pytest.raises(PayoutError, match="cannot be cancelled"):
        cancel_batch(batch=batch, cancelled_by="Erlan", reason="x")
    [skipped] = prepare(*terms("aigul")).skipped
    assert skipped.why == batch_facts()[0].reference
    assert in_transit("aigul") == 450_000


def test_only_what_is_approved_and_pays_nobody_who_is_held_is_written() -> None:
    owe("aigul", 450_000)
    batch = prepare(*terms("aigul")).batch
    assert batch is not None
    with pytest.raises(PayoutError, match="cannot be exported"):
        export_batch(batch=batch, exported_by="Dana")
    approve_batch(batch=batch, approved_by="Erlan")
    hold_payouts(beneficiary="aigul", is_held=True, said_by="Erlan", reason="complaint")
    with pytest.raises(PayoutError, match="held"):
        export_batch(batch=batch, exported_by="Dana")
    assert batch_facts()[0].state is PayoutState.APPROVED


def test_the_database_refuses_a_file_without_approval_or_with_another_hash() -> None:
    owe("aigul", 450_000)
    batch = prepare(*terms("aigul")).batch
    assert batch is not None
    file = {"batch_id": batch, "content": b"x", "exported_by": "Dana"}
    right = hashlib.sha256(b"x").hexdigest()
    with pytest.raises(IntegrityError, match="not approved"), transaction.atomic():
        PayoutExport.objects.create(**file, sha256=right)
    approve_batch(batch=batch, approved_by="Erlan")
    with pytest.raises(IntegrityError, match="another official"), transaction.atomic():
        PayoutExport.objects.create(**file | {"exported_by": "ERLAN "}, sha256=right)
    with pytest.raises(IntegrityError, match="hash"), transaction.atomic():
        PayoutExport.objects.create(**file, sha256="0" * 64)


def test_whoever_approved_a_batch_does_not_write_it() -> None:
    batch = approved()
    with pytest.raises(PayoutError, match="another official exports it"):
        export_batch(batch=batch, exported_by=" erlan")
    assert batch_facts()[0].state is PayoutState.APPROVED
