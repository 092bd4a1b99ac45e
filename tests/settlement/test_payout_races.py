"""Two who export or import at once write one file and book one outcome."""

import pytest

from settlement.clock import today
from settlement.models import BankLine, JournalEntry, Payout, PayoutExport, PayoutOutcome
from settlement.payout_export import export_batch
from settlement.payout_outcomes import import_statement
from settlement.payouts import approve_batch
from tests.settlement.bank_files.samples import OPERATOR
from tests.settlement.paying import as_camt053, in_transit, owe, prepare, told_of
from tests.settlement.test_payouts import in_threads

pytestmark = pytest.mark.usefixtures("committed", "app_role")


@pytest.mark.case("R125")
@pytest.mark.case("R126")
def test_many_exports_and_imports_at_once_are_one_order_and_one_outcome() -> None:
    owe("aigul", 450_000)
    owe("bolat", 77)
    batch = prepare().batch
    assert batch is not None
    approve_batch(batch=batch, approved_by="Erlan")
    files: list[bytes] = []
    raised = in_threads(
        lambda: files.append(export_batch(batch=batch, exported_by="Dana")[0].content), times=12
    )
    assert raised == []
    assert len(files) == 12
    assert set(files) == {bytes(PayoutExport.objects.get().content)}
    payouts = Payout.objects.order_by("pk")
    lines = [told_of(one) for one in payouts]
    content = as_camt053(*lines, day=today())

    heard: list[int] = []
    raised = in_threads(
        lambda: import_statement(
            content=content,
            name="s",
            imported_by="Dana",
            ibans=[OPERATOR.iban],
            told=lambda fact: heard.append(fact.number),
        ),
        times=12,
    )
    assert raised == []
    assert sorted(heard) == [one.pk for one in payouts]
    assert (BankLine.objects.count(), PayoutOutcome.objects.count()) == (2, 2)
    assert JournalEntry.objects.filter(kind="payout_confirmed").count() == 2
    assert (in_transit("aigul"), in_transit("bolat")) == (0, 0)
