"""Batches take what is due and no more, need two officials, and give back what is cancelled."""

import re
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from django.db import IntegrityError, ProgrammingError, connection, transaction
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from alatau_pay.engines import REPOSITORY
from settlement.accounts import MERCHANT_RECEIVABLE
from settlement.calendar import Every, PayoutSchedule, day_begins_at
from settlement.clock import today
from settlement.ledger import balance_of, trial_balance
from settlement.models import (
    JournalEntry,
    Payout,
    PayoutApproval,
    PayoutBatch,
    PayoutCancellation,
    PayoutHold,
)
from settlement.payout_entries import book_payout
from settlement.payout_states import EDGES, PayoutError, PayoutState, batch_facts
from settlement.payouts import (
    SkipReason,
    approve_batch,
    cancel_batch,
    hold_payouts,
    prepare_batch,
)
from tests.conftest import become_the_app
from tests.settlement.bank_files.samples import OPERATOR, SHOP
from tests.settlement.paying import (
    before_today,
    check_deferred,
    in_transit,
    owe,
    owed,
    prepare,
    terms,
    value_day,
)

here = [pytest.mark.django_db, pytest.mark.usefixtures("app_role")]


def in_database(test: Callable[..., None]) -> Callable[..., None]:
    """The test runs as the application's role in a transaction that is rolled back."""
    for mark in here:
        test = mark(test)
    return test


def reasons(*of: object) -> dict[str, SkipReason]:
    return {one.beneficiary: one.reason for one in prepare(*of).skipped}  # type: ignore[arg-type]


def test_the_documentation_draws_the_edges_that_there_are() -> None:
    rows = re.findall(
        r"^\| `(\w+)` \|.*\| (.*?) \|$", (REPOSITORY / "docs/payouts.md").read_text(), re.MULTILINE
    )
    told = {name: set(re.findall(r"`(\w+)`", after)) for name, after in rows}
    assert told == {state.value: {str(one) for one in after} for state, after in EDGES.items()}
    assert set(EDGES) == set(PayoutState)


@in_database
def test_a_batch_takes_what_is_due_and_freezes_to_whom_it_goes() -> None:
    owe("aigul", 450_000)
    owe("bolat", 1)
    prepared = prepare()
    assert prepared.skipped == ()
    [batch] = batch_facts()
    assert (batch.state, batch.total_tiyn) == (PayoutState.PREPARED, 450_001)
    payout = Payout.objects.get(beneficiary="aigul")
    assert (payout.payee_iban, payout.payee_bin_or_iin, payout.payee_kbe, payout.knp) == (
        SHOP.iban, SHOP.bin_or_iin, "17", "710",
    )  # fmt: skip
    assert payout.purpose == f"Возмещение по реестру {batch.reference}"
    assert (owed("aigul"), in_transit("aigul")) == (0, 450_000)
    check_deferred()


@in_database
def test_due_is_what_settled_before_the_days_that_are_not_over() -> None:
    midnight = day_begins_at(today())
    owe("aigul", 100, at=midnight - timedelta(microseconds=1))
    owe("aigul", 20, at=midnight)
    prepare()
    assert (owed("aigul"), in_transit("aigul")) == (20, 100)


@in_database
def test_a_sale_of_today_that_is_taken_back_today_takes_nothing_from_yesterdays() -> None:
    midnight = day_begins_at(today())
    owe("aigul", 100)
    owe("aigul", 500, at=midnight, about="demand")
    owe("aigul", -500, at=midnight, about="demand")
    prepare()
    assert (owed("aigul"), in_transit("aigul")) == (0, 100)


@in_database
def test_what_is_taken_back_today_of_yesterdays_is_not_paid() -> None:
    owe("aigul", 100, about="demand")
    owe("aigul", -30, at=day_begins_at(today()), about="demand")
    prepare()
    assert (owed("aigul"), in_transit("aigul")) == (0, 70)


@in_database
def test_those_who_are_not_paid_are_named_with_the_reason() -> None:
    [nobody, low] = terms("nobody", "low", minimum_tiyn=101)
    [strange] = terms("strange", payee=SHOP.__class__(
        name="X", bin_or_iin="250140000410", iban="KZ42722C000000000001", kbe="17"))  # fmt: skip
    weekday = value_day().isoweekday() % 5 + 1
    [monthly] = terms("weekly", schedule=PayoutSchedule(every=Every.WEEK, on=weekday))
    [held] = terms("held")
    for name in ("low", "strange", "weekly", "held"):
        owe(name, 100)
    hold_payouts(beneficiary="held", is_held=True, said_by="Erlan", reason="a court's order")
    assert reasons(nobody, low, strange, monthly, held) == {
        "nobody": SkipReason.NOTHING_DUE,
        "low": SkipReason.BELOW_MINIMUM,
        "strange": SkipReason.REFUSED,
        "weekly": SkipReason.NOT_ITS_DAY,
        "held": SkipReason.HELD,
    }
    assert not PayoutBatch.objects.exists()
    hold_payouts(beneficiary="held", is_held=False, said_by="Erlan", reason="lifted")
    assert prepare(held).skipped == ()


@in_database
def test_what_is_below_the_minimum_waits_until_it_is_enough() -> None:
    owe("aigul", 60)
    [one] = terms("aigul", minimum_tiyn=101)
    assert reasons(one) == {"aigul": SkipReason.BELOW_MINIMUM}
    owe("aigul", 41)
    assert prepare(one).skipped == ()
    assert in_transit("aigul") == 101


@in_database
def test_a_batch_is_for_today_or_the_next_business_day() -> None:
    owe("aigul", 100)
    for days in (-1, 40):
        with pytest.raises(PayoutError, match="neither"):
            prepare_batch(
                value_on=today() + timedelta(days=days),
                payer=OPERATOR,
                terms=terms("aigul"),
                prepared_by="Dana",
            )


@in_database
def test_a_payer_that_is_wrong_refuses_the_whole_batch() -> None:
    owe("aigul", 100)
    wrong = SHOP.__class__(name="", bin_or_iin="1", iban="KZ1", kbe="99")
    with pytest.raises(PayoutError, match="Payer"):
        prepare_batch(value_on=value_day(), payer=wrong, terms=terms("aigul"), prepared_by="Dana")


@in_database
@pytest.mark.parametrize("name", ["Dana", " dana ", "DANA"])
def test_whoever_prepared_a_batch_does_not_approve_it(name: str) -> None:
    owe("aigul", 100)
    batch = prepare().batch
    assert batch is not None
    with pytest.raises(PayoutError, match="second official"):
        approve_batch(batch=batch, approved_by=name)
    with pytest.raises(IntegrityError, match="second official"), transaction.atomic():
        PayoutApproval.objects.create(batch_id=batch, approved_by=name)
    approve_batch(batch=batch, approved_by="Erlan")
    assert batch_facts()[0].state is PayoutState.APPROVED
    with pytest.raises(PayoutError, match="cannot be approved"):
        approve_batch(batch=batch, approved_by="Fatima")


@in_database
def test_nobody_decides_without_a_name_or_a_reason() -> None:
    owe("aigul", 100)
    with pytest.raises(PayoutError, match="who"):
        prepare(by=" ")
    batch = prepare().batch
    assert batch is not None
    with pytest.raises(PayoutError, match="who"):
        approve_batch(batch=batch, approved_by="")
    for reason in (" ", "x" * 201):
        with pytest.raises(PayoutError, match="why"):
            cancel_batch(batch=batch, cancelled_by="Dana", reason=reason)
    with pytest.raises(PayoutError, match="who"):
        approve_batch(batch=batch, approved_by="x" * 151)
    with pytest.raises(PayoutError, match="no batch"):
        approve_batch(batch=0, approved_by="Erlan")


@in_database
@pytest.mark.parametrize("approved", [False, True])
def test_what_is_cancelled_is_owed_again_and_can_be_prepared_again(approved: bool) -> None:
    owe("aigul", 100)
    first = prepare(*terms("aigul")).batch
    assert first is not None
    if approved:
        approve_batch(batch=first, approved_by="Erlan")
    cancel_batch(batch=first, cancelled_by="Erlan", reason="wrong account")
    assert (owed("aigul"), in_transit("aigul")) == (100, 0)
    with pytest.raises(PayoutError, match="cancelled"):
        approve_batch(batch=first, approved_by="Erlan")
    with pytest.raises(IntegrityError, match="cancelled"), transaction.atomic():
        PayoutApproval.objects.create(batch_id=first, approved_by="Erlan")
    prepare(*terms("aigul"))
    assert list(Payout.objects.order_by("pk").values_list("attempt", flat=True)) == [0, 1]
    assert (owed("aigul"), in_transit("aigul")) == (0, 100)
    check_deferred()


@in_database
def test_a_batch_with_a_shop_that_is_held_goes_no_further() -> None:
    owe("aigul", 100)
    batch = prepare().batch
    assert batch is not None
    hold_payouts(beneficiary="aigul", is_held=True, said_by="Erlan", reason="complaint")
    with pytest.raises(PayoutError, match=r"held: aigul \(complaint\)"):
        approve_batch(batch=batch, approved_by="Erlan")


@in_database
@pytest.mark.case("R126")
def test_a_shop_is_in_one_batch_of_a_day() -> None:
    owe("aigul", 100)
    prepare(*terms("aigul"))
    owe("aigul", 50)
    assert reasons(*terms("aigul")) == {"aigul": SkipReason.STANDING}
    # By hand, past the function: the claim is taken, and a batch takes no more.
    payout = Payout.objects.get()
    for attempt, why in ((0, "payout_claim|no more payouts"), (1, "no more payouts|in vain")):
        with pytest.raises(IntegrityError, match=why), transaction.atomic():
            Payout.objects.create(
                batch=payout.batch, beneficiary="aigul", value_on=payout.value_on,
                attempt=attempt, amount_tiyn=50,
            )  # fmt: skip


@transaction.atomic
def save_and_check(fact: Payout | PayoutCancellation) -> None:
    fact.save()
    check_deferred()


@transaction.atomic
def as_owner(statement: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL ROLE NONE")
        cursor.execute(statement)


@in_database
def test_the_database_refuses_a_payout_that_the_ledger_does_not_know() -> None:
    owe("aigul", 100)
    prepare(*terms("aigul"))
    first = PayoutBatch.objects.get()
    batch = PayoutBatch.objects.create(
        value_on=first.value_on, taken_before=first.taken_before, prepared_by="X"
    )
    more = Payout(
        batch=batch, beneficiary="bolat", value_on=first.value_on, attempt=0, amount_tiyn=5
    )
    for fact in (more, PayoutCancellation(batch=first, cancelled_by="X", reason="x")):
        with pytest.raises(IntegrityError, match="not in the ledger"):
            save_and_check(fact)


@in_database
@pytest.mark.parametrize("verb", ["update", "delete"])
def test_no_fact_is_changed(verb: str) -> None:
    owe("aigul", 100)
    batch = prepare(*terms("aigul")).batch
    assert batch is not None
    approve_batch(batch=batch, approved_by="Erlan")
    hold_payouts(beneficiary="aigul", is_held=True, said_by="Erlan", reason="x")
    for facts in (PayoutBatch, Payout, PayoutApproval, PayoutHold):
        table = facts._meta.db_table
        change = {"update": f"UPDATE {table} SET id = id", "delete": f"DELETE FROM {table}"}[verb]  # noqa: S608
        with (
            pytest.raises(ProgrammingError, match="permission denied"),
            transaction.atomic(),
            connection.cursor() as cursor,
        ):
            cursor.execute(change)
        with pytest.raises(IntegrityError, match="is refused"):
            as_owner(change)


@in_database
@pytest.mark.case("R128")
def test_what_is_taken_back_after_a_payout_is_paid_off_before_the_next() -> None:
    owe("aigul", 450_000)
    first = prepare(*terms("aigul")).batch
    owe("aigul", -300_000)
    assert (owed("aigul"), balance_of(MERCHANT_RECEIVABLE, beneficiary="aigul")) == (0, 300_000)
    assert first is not None
    approve_batch(batch=first, approved_by="Erlan")
    assert reasons(*terms("aigul")) == {"aigul": SkipReason.STANDING}
    owe("aigul", 400_000)
    assert (owed("aigul"), balance_of(MERCHANT_RECEIVABLE, beneficiary="aigul")) == (100_000, 0)
    # The batch did not go to the bank: what it gives back is due with the rest.
    cancel_batch(batch=first, cancelled_by="Erlan", reason="late")
    prepare(*terms("aigul"))
    assert (owed("aigul"), in_transit("aigul")) == (0, 550_000)


def in_threads(job: Callable[[], None], *, times: int) -> list[Exception]:
    """Run a job many times at once as the application's role; return what it raised."""
    raised: list[Exception] = []
    barrier = threading.Barrier(times)

    def run() -> None:
        try:
            become_the_app()
            barrier.wait(timeout=60)
            job()
        except Exception as error:  # noqa: BLE001
            raised.append(error)
        finally:
            connection.close()

    threads = [threading.Thread(target=run) for _ in range(times)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return raised


@pytest.mark.case("R124")
@pytest.mark.case("R126")
@pytest.mark.usefixtures("committed", "app_role")
def test_a_hundred_preparations_at_once_make_one_payout() -> None:
    owe("aigul", 450_000)
    owe("bolat", 7)
    # Twice fifty: the server takes a hundred connections, and the suite has some.
    for _round in range(2):
        assert in_threads(prepare, times=50) == []
    assert sorted(Payout.objects.values_list("beneficiary", "amount_tiyn")) == [
        ("aigul", 450_000),
        ("bolat", 7),
    ]
    assert PayoutBatch.objects.count() == 1
    assert (owed("aigul"), in_transit("aigul")) == (0, 450_000)
    assert trial_balance().difference_tiyn == 0


@pytest.mark.case("R124")
@pytest.mark.usefixtures("committed", "app_role")
def test_a_preparation_and_other_takers_of_the_same_tiyn_leave_none_below_nothing() -> None:
    owe("aigul", 1_000)
    taken: list[int] = []

    def take() -> None:
        number = len(taken)
        taken.append(number)
        if number % 2:
            prepare(*terms("aigul"))
            return
        with transaction.atomic():
            book_payout(
                source=f"other {threading.get_ident()}",
                beneficiary="aigul",
                amount_tiyn=300,
                effective_at=datetime.now(UTC),
            )

    raised = in_threads(take, times=20)
    assert {type(error).__name__ for error in raised} <= {"InsufficientFundsError"}
    assert owed("aigul") == 1_000 - in_transit("aigul") >= 0


@pytest.mark.usefixtures("committed", "app_role")
def test_two_who_approve_and_cancel_at_once_do_one_of_both() -> None:
    owe("aigul", 100)
    batch = prepare(*terms("aigul")).batch
    assert batch is not None
    done: list[str] = []

    def decide() -> None:
        if len(done) % 2:
            done.append("a")
            approve_batch(batch=batch, approved_by="Erlan")
        else:
            done.append("c")
            cancel_batch(batch=batch, cancelled_by="Erlan", reason="x")

    in_threads(decide, times=8)
    assert batch_facts()[0].state is PayoutState.CANCELLED
    assert JournalEntry.objects.filter(kind="payout_returned").count() == 1
    assert owed("aigul") == 100


@in_database
def test_a_batch_that_is_cut_short_leaves_nothing() -> None:
    owe("aigul", 100)
    with transaction.atomic():
        prepare(*terms("aigul"))
        transaction.set_rollback(True)
    assert not PayoutBatch.objects.exists()
    assert (owed("aigul"), in_transit("aigul")) == (100, 0)


MOVES = st.lists(
    st.one_of(
        st.tuples(st.just("owe"), st.sampled_from(["aigul", "bolat"]), st.integers(1, 10**9)),
        st.tuples(st.just("back"), st.sampled_from(["aigul", "bolat"]), st.integers(1, 10**9)),
        st.tuples(st.just("today"), st.sampled_from(["aigul", "bolat"]), st.integers(1, 10**9)),
        st.tuples(st.just("prepare"), st.just(""), st.integers(0, 10**9)),
        st.tuples(st.just("cancel"), st.just(""), st.just(0)),
    ),
    max_size=12,
)


@in_database
@settings(
    max_examples=40,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(moves=MOVES)
def test_whatever_happens_payouts_are_never_more_than_was_owed(
    moves: list[tuple[str, str, int]],
) -> None:
    with transaction.atomic():
        brought = {"aigul": 0, "bolat": 0}
        for move, name, number in moves:
            if move == "prepare":
                before = {one: owed(one) for one in brought}
                prepare(*terms(minimum_tiyn=number))
                for one in brought:
                    assert 0 <= before[one] - owed(one) <= before[one]
            elif move == "cancel":
                for batch in batch_facts():
                    if batch.state is PayoutState.PREPARED:
                        cancel_batch(batch=batch.number, cancelled_by="E", reason="x")
            else:
                sign = -1 if move == "back" else 1
                at = day_begins_at(today()) if move == "today" else before_today()
                owe(name, sign * number, at=at)
                brought[name] += sign * number
        for one, tiyn in brought.items():
            debt = balance_of(MERCHANT_RECEIVABLE, beneficiary=one)
            assert owed(one) + in_transit(one) - debt == tiyn
            assert min(owed(one), in_transit(one), debt) >= 0
        check_deferred()
        transaction.set_rollback(True)
