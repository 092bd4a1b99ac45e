"""The bank's statement says what became of payouts; what does not agree books nothing."""

import hashlib
from collections.abc import Callable
from dataclasses import replace
from datetime import date, timedelta

import pytest
from django.db import IntegrityError, transaction
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from settlement.accounts import BANK_SETTLEMENT
from settlement.bank_files.statements import StatementError
from settlement.calendar import city_calendar, day_begins_at
from settlement.clock import today
from settlement.ledger import balance_of, trial_balance
from settlement.models import (
    BankLine,
    JournalEntry,
    Payout,
    PayoutApproval,
    PayoutBatch,
    PayoutExport,
    PayoutOutcome,
    StatementFile,
)
from settlement.payout_entries import book_payout
from settlement.payout_outcomes import (
    Imported,
    give_up_payout,
    import_statement,
    match_lines,
    open_lines,
)
from settlement.payout_states import PayoutError, PayoutFact, PayoutState, payout_fact
from tests.settlement.bank_files.samples import OPERATOR, SHOP, TRADER
from tests.settlement.paying import (
    FORMS,
    Told,
    as_camt053,
    as_mt940,
    before_today,
    check_deferred,
    exported,
    in_transit,
    owe,
    owed,
    prepare,
    terms,
    told_of,
)

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("app_role")]


def take_in(content: bytes, *, told: Callable[[PayoutFact], None] = lambda _fact: None) -> Imported:
    return import_statement(
        content=content, name="statement", imported_by="Dana", ibans=[OPERATOR.iban], told=told
    )


def state(payout: Payout) -> PayoutState:
    return payout_fact(payout.pk).state


@pytest.mark.case("R125")
@pytest.mark.parametrize("form", FORMS)
def test_a_statement_confirms_and_later_returns_whatever_its_form(form: str) -> None:
    owe("aigul", 450_000)
    owe("bolat", 77)
    first, second = exported()
    write = FORMS[form]
    heard: list[PayoutFact] = []
    imported = take_in(write(told_of(first), told_of(second), day=today()), told=heard.append)
    assert (imported.lines_new, imported.lines_known) == (2, 0)
    assert [one.state for one in heard] == [PayoutState.PAID, PayoutState.PAID]
    assert balance_of(BANK_SETTLEMENT) == -450_077
    assert (in_transit("aigul"), in_transit("bolat"), owed("aigul")) == (0, 0, 0)
    back = told_of(second, back=True)
    later = take_in(write(back, day=today(), opening_tiyn=10**12 - 450_077), told=heard.append)
    assert later.outcomes == (heard[-1],)
    assert (state(first), state(second)) == (PayoutState.PAID, PayoutState.RETURNED)
    assert (owed("aigul"), owed("bolat")) == (0, 77)
    assert balance_of(BANK_SETTLEMENT) == -450_000
    assert not open_lines()
    # It is due again at once, as another payout with another number.
    again = prepare(*terms("bolat")).batch
    assert Payout.objects.get(batch=again).attempt == 1
    check_deferred()


def test_one_statement_may_hold_the_payment_and_its_return() -> None:
    owe("aigul", 450_000)
    [payout] = exported(*terms("aigul"))
    imported = take_in(as_camt053(told_of(payout, back=True), told_of(payout), day=today()))
    assert [one.state for one in imported.outcomes] == [PayoutState.PAID, PayoutState.RETURNED]
    assert owed("aigul") == 450_000


@pytest.mark.parametrize("form", FORMS)
def test_statements_that_overlap_or_come_twice_book_once(form: str) -> None:
    owe("aigul", 450_000)
    owe("bolat", 77)
    first, second = exported()
    # Two fees of the day that nothing tells apart are two.
    fee = Told(number="", amount_tiyn=-50)
    write, lines = FORMS[form], [told_of(first), told_of(second), fee, fee]
    if form != "camt.053":
        lines = lines[:2]
    morning = write(*lines[:1], day=today())
    whole = write(*lines, day=today())
    assert take_in(morning).lines_new == 1
    entries = JournalEntry.objects.count()
    again = take_in(morning)
    assert (again.lines_new, again.lines_known, again.outcomes) == (0, 1, ())
    assert JournalEntry.objects.count() == entries
    overlapping = take_in(whole)
    assert (overlapping.lines_new, overlapping.lines_known) == (len(lines) - 1, 1)
    assert [one.number for one in overlapping.outcomes] == [second.pk]
    assert take_in(whole + b"\n").lines_new == 0
    assert BankLine.objects.count() == len(lines)


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"amount_tiyn": -449_999}, "another amount"),
        ({"iban": TRADER.iban}, "another account"),
        ({"bin_or_iin": TRADER.bin_or_iin}, "another BIN"),
        ({"number": "1000000"}, "unidentified"),
        ({"number": "SALARY"}, "unidentified"),
        ({"number": "9999999999"}, "unidentified"),
        ({"number": ""}, "unidentified"),
    ],
)
def test_a_line_that_does_not_agree_is_shown_and_books_nothing(
    change: dict[str, object], why: str
) -> None:
    owe("aigul", 450_000)
    [payout] = exported(*terms("aigul"))
    entries = JournalEntry.objects.count()
    line = replace(told_of(payout), **change)  # type: ignore[arg-type]
    assert take_in(as_camt053(line, day=today())).outcomes == ()
    assert JournalEntry.objects.count() == entries
    assert state(payout) is PayoutState.EXPORTED
    [shown] = open_lines()
    assert why in shown.why
    assert shown.amount_tiyn == line.amount_tiyn
    # The right line still confirms it.
    assert take_in(as_camt053(told_of(payout), day=today())).outcomes[0].state is PayoutState.PAID


def test_money_that_comes_back_tells_from_whom() -> None:
    owe("aigul", 450_000)
    [payout] = exported(*terms("aigul"))
    take_in(as_camt053(told_of(payout), day=today()))
    stranger = Told(number=str(payout.pk), amount_tiyn=450_000, bank_reference="X")
    take_in(as_camt053(stranger, day=today()))
    take_in(as_mt940(replace(stranger, bin_or_iin=TRADER.bin_or_iin), day=today()))
    assert state(payout) is PayoutState.PAID
    whys = [one.why for one in open_lines()]
    assert ["does not tell" in whys[1], "another BIN" in whys[0]] == [True, True]


def test_a_payment_told_as_another_line_may_be_a_second_payment() -> None:
    owe("aigul", 450_000)
    [payout] = exported(*terms("aigul"))
    take_in(as_camt053(told_of(payout), day=today()))
    take_in(as_camt053(replace(told_of(payout), bank_reference="OTHER"), day=today()))
    assert balance_of(BANK_SETTLEMENT) == -450_000
    [shown] = open_lines()
    assert "paid twice?" in shown.why


def test_money_that_comes_back_before_it_left_waits_for_the_line_that_it_left() -> None:
    owe("aigul", 450_000)
    [payout] = exported(*terms("aigul"))
    assert take_in(as_camt053(told_of(payout, back=True), day=today())).outcomes == ()
    assert "no statement tells yet" in open_lines()[0].why
    outcomes = take_in(as_camt053(told_of(payout), day=today())).outcomes
    assert [one.state for one in outcomes] == [PayoutState.PAID, PayoutState.RETURNED]


def test_what_is_not_exported_is_not_confirmed() -> None:
    owe("aigul", 450_000)
    batch = prepare(*terms("aigul")).batch
    payout = Payout.objects.get(batch=batch)
    assert take_in(as_camt053(told_of(payout), day=today())).outcomes == ()
    assert "not exported by then" in open_lines()[0].why


def test_a_line_of_a_day_before_the_export_is_none_of_it() -> None:
    owe("aigul", 450_000)
    [payout] = exported(*terms("aigul"))
    yesterday = today() - timedelta(days=1)
    assert take_in(as_camt053(told_of(payout), day=yesterday)).outcomes == ()
    assert "not exported by then" in open_lines()[0].why


def test_a_statement_of_another_account_or_that_does_not_add_up_is_not_kept() -> None:
    owe("aigul", 450_000)
    [payout] = exported(*terms("aigul"))
    content = as_camt053(told_of(payout), day=today())
    for bad in (
        content.replace(OPERATOR.iban.encode(), SHOP.iban.encode(), 1),
        content.replace(b"4500.00", b"4500.01"),
        content[:-50],
        b"",
    ):
        with pytest.raises(StatementError):
            take_in(bad)
    assert not StatementFile.objects.exists()
    assert state(payout) is PayoutState.EXPORTED


def test_whoever_is_stopped_between_two_payouts_goes_on_with_the_same_file() -> None:
    owe("aigul", 450_000)
    owe("bolat", 77)
    first, second = exported()
    content = as_camt053(told_of(first), told_of(second), day=today())
    heard: list[int] = []

    def stop_at_second(fact: PayoutFact) -> None:
        if heard:
            raise InterruptedError
        heard.append(fact.number)

    with pytest.raises(InterruptedError):
        take_in(content, told=stop_at_second)
    assert (state(first), state(second)) == (PayoutState.PAID, PayoutState.EXPORTED)
    assert in_transit("bolat") == 77
    assert [one.number for one in take_in(content).outcomes] == [second.pk]
    assert match_lines(told=lambda _fact: None) == []


def test_the_database_believes_no_outcome_that_no_line_says() -> None:
    owe("aigul", 450_000)
    owe("bolat", 77)
    first, second = exported()
    take_in(as_camt053(replace(told_of(first), amount_tiyn=-1), day=today()))
    line = BankLine.objects.get()
    paid, returned, unpaid = PayoutOutcome.Kind
    for fields, why in (
        ({"payout": first, "kind": paid, "line": line}, "no line"),
        ({"payout": second, "kind": paid}, "no line"),
        ({"payout": first, "kind": returned, "line": line}, "not yet paid"),
        ({"payout": first, "kind": unpaid, "decided_by": "Dana"}, "two officials"),
        (
            {"payout": first, "kind": unpaid, "decided_by": "Dana", "seconded_by": "DANA "},
            "two officials",
        ),
    ):
        with pytest.raises(IntegrityError, match=why), transaction.atomic():
            PayoutOutcome.objects.create(**fields)


@pytest.mark.case("R125")
def test_nobody_gives_up_a_payout_before_statements_tell_that_it_was_not_paid() -> None:
    owe("aigul", 450_000)
    [payout] = exported(*terms("aigul"))
    who = {"payout": payout.pk, "reason": "refused by the bank"}
    with pytest.raises(PayoutError, match="not one"):
        give_up_payout(**who, decided_by="Dana", seconded_by="dana")
    with pytest.raises(PayoutError, match="Import the statements first"):
        give_up_payout(**who, decided_by="Dana", seconded_by="Erlan")
    # A statement of a day that is not over tells nothing.
    take_in(as_camt053(day=today()))
    with pytest.raises(PayoutError, match="Import the statements first"):
        give_up_payout(**who, decided_by="Dana", seconded_by="Erlan")
    take_in(as_camt053(told_of(payout), day=today()))
    with pytest.raises(PayoutError, match="is paid"):
        give_up_payout(**who, decided_by="Dana", seconded_by="Erlan")
    assert (in_transit("aigul"), owed("aigul")) == (0, 0)


def exported_long_ago() -> tuple[Payout, date]:
    """A payout of ten days ago, made by hand: the database's clock cannot be turned back."""
    calendar = city_calendar()
    day = calendar.on_or_after(today() - timedelta(days=20))
    batch = PayoutBatch.objects.create(
        value_on=day, taken_before=day_begins_at(day), payer_iban=OPERATOR.iban, prepared_by="Dana"
    )
    payout = Payout.objects.create(
        batch=batch, beneficiary="aigul", value_on=day, attempt=0, amount_tiyn=450_000,
        payee_iban=SHOP.iban, payee_bin_or_iin=SHOP.bin_or_iin,
    )  # fmt: skip
    book_payout(
        source=payout.source, beneficiary="aigul", amount_tiyn=450_000, effective_at=before_today()
    )
    PayoutApproval.objects.create(batch=batch, approved_by="Erlan")
    PayoutExport.objects.create(
        batch=batch, sha256=hashlib.sha256(b"").hexdigest(), content=b"", exported_by="Dana",
        exported_at=day_begins_at(day),
    )  # fmt: skip
    return payout, calendar.value_day_after(day)


@pytest.mark.case("R125")
def test_what_statements_do_not_know_is_given_up_by_two_and_a_late_line_books_nothing() -> None:
    owe("aigul", 450_000)
    payout, last = exported_long_ago()
    who = {"payout": payout.pk, "decided_by": "Dana", "seconded_by": "Erlan", "reason": "refused"}
    take_in(as_camt053(day=payout.value_on))
    with pytest.raises(PayoutError, match=f"none tells of {last}"):
        give_up_payout(**who)
    take_in(as_camt053(day=last))
    assert give_up_payout(**who).state is PayoutState.UNPAID
    assert (in_transit("aigul"), owed("aigul"), balance_of(BANK_SETTLEMENT)) == (0, 450_000, 0)
    with pytest.raises(PayoutError, match="is unpaid"):
        give_up_payout(**who)
    # The bank paid it after all: nothing is booked, people see it.
    late = told_of(payout)
    assert take_in(as_camt053(late, day=last + timedelta(days=1))).outcomes == ()
    assert "is unpaid already: was it paid twice?" in open_lines()[0].why
    assert owed("aigul") == 450_000
    check_deferred()


@pytest.mark.case("R125")
def test_a_line_with_its_number_keeps_a_payout_from_being_given_up() -> None:
    owe("aigul", 450_000)
    payout, last = exported_long_ago()
    line = replace(told_of(payout), amount_tiyn=-449_000)
    take_in(as_camt053(line, day=payout.value_on))
    take_in(as_camt053(day=last))
    with pytest.raises(PayoutError, match="has the number"):
        give_up_payout(payout=payout.pk, decided_by="Dana", seconded_by="Erlan", reason="x")


TELLINGS = st.lists(
    st.lists(
        st.tuples(
            st.sampled_from([0, 1]),
            st.booleans(),
            st.sampled_from([0, 0, 0, 1]),
            st.sampled_from(["", "", TRADER.iban]),
        ),
        max_size=4,
        unique=True,
    ),
    max_size=5,
)


@settings(
    max_examples=40,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(tellings=TELLINGS)
def test_whatever_a_bank_tells_and_however_often_nothing_is_booked_twice(
    tellings: list[list[tuple[int, bool, int, str]]],
) -> None:
    with transaction.atomic():
        owe("aigul", 450_000)
        owe("bolat", 77)
        payouts = exported()
        for telling in tellings:
            lines = [
                replace(
                    told_of(payouts[which], back=back),
                    amount_tiyn=(payouts[which].amount_tiyn + more) * (1 if back else -1),
                    bank_reference=f"{which}{back}{more}{iban}",
                    iban=iban or payouts[which].payee_iban,
                )
                for which, back, more, iban in telling
            ]
            take_in(as_camt053(*lines, day=today()))
            for payout in payouts:
                sums = {
                    PayoutState.EXPORTED: (payout.amount_tiyn, 0),
                    PayoutState.PAID: (0, 0),
                    PayoutState.RETURNED: (0, payout.amount_tiyn),
                }
                name = payout.beneficiary
                assert (in_transit(name), owed(name)) == sums[state(payout)]
        paid = sum(one.amount_tiyn for one in payouts if state(one) is PayoutState.PAID)
        assert balance_of(BANK_SETTLEMENT) == -paid
        assert trial_balance().difference_tiyn == 0
        check_deferred()
        transaction.set_rollback(True)
