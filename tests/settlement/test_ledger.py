"""The ledger is balanced and unchangeable by the database's own word."""

import threading
from collections.abc import Callable
from dataclasses import replace
from datetime import date

import pytest
from django.apps import apps
from django.db import IntegrityError, OperationalError, ProgrammingError, connection, transaction

from settlement.accounts import CHART, COINS_HELD, MERCHANT_PAYABLE, ROUNDING
from settlement.conversions import Fill, book_fill
from settlement.days import close_day
from settlement.ledger import (
    Entry,
    LedgerError,
    Line,
    UnbalancedEntryError,
    balance_of,
    lock_beneficiaries,
    open_accounts,
    post_entries,
)
from settlement.models import Account, JournalEntry, Posting, SealedEntry
from settlement.treasury import book_sweep
from tests.conftest import become_the_app
from tests.settlement.demand import BTC, NOW, Demand

LEDGER = [
    "settlement_posting",
    "settlement_journalentry",
    "settlement_quote",
    "settlement_account",
    "settlement_closedday",
    "settlement_lot",
    "settlement_lotuse",
    "settlement_sealedentry",
]


def entry(*lines: Line) -> Entry:
    return Entry(kind="test", source="x", subject="x", lines=lines, effective_at=NOW)


@pytest.mark.django_db
def test_an_unbalanced_entry_is_refused_before_the_database() -> None:
    lines = Line(account=COINS_HELD, amount_tiyn=5), Line(account=ROUNDING, amount_tiyn=-4)
    with transaction.atomic(), pytest.raises(UnbalancedEntryError):
        post_entries([entry(*lines)])


@pytest.mark.django_db
@pytest.mark.parametrize(
    "line",
    [
        Line(account=MERCHANT_PAYABLE, amount_tiyn=0),
        Line(account=ROUNDING, beneficiary="aigul", amount_tiyn=0),
    ],
)
def test_a_beneficiary_that_does_not_fit_the_chart_is_refused(line: Line) -> None:
    with transaction.atomic(), pytest.raises(LedgerError, match="chart"):
        post_entries([entry(line, line)])


def test_nothing_is_posted_or_locked_outside_a_transaction(committed: None) -> None:
    lines = Line(account=COINS_HELD, amount_tiyn=5), Line(account=ROUNDING, amount_tiyn=-5)
    with pytest.raises(LedgerError, match="inside the transaction"):
        post_entries([entry(*lines)])
    with pytest.raises(LedgerError, match="inside the transaction"):
        lock_beneficiaries(["x"])


@transaction.atomic
def write_by_hand(*amounts_tiyn: int) -> None:
    account = Posting.objects.all()[0].account
    row = JournalEntry.objects.create(
        kind="t", source="s", subject="s", occurred_at=NOW, effective_at=NOW
    )
    Posting.objects.bulk_create(
        Posting(entry=row, account=account, amount_tiyn=one) for one in amounts_tiyn
    )


def test_the_database_refuses_an_unbalanced_entry(committed: None, app_role: None) -> None:
    Demand().receive("BTC", 10_000)
    with pytest.raises(IntegrityError, match="out of balance by 7"):
        write_by_hand(10, -3)
    with pytest.raises(IntegrityError, match="fewer than two"):
        write_by_hand()


def test_a_closed_entry_takes_no_more_postings(committed: None, app_role: None) -> None:
    Demand().receive("BTC", 10_000)
    old = Posting.objects.all()[0]
    with pytest.raises(IntegrityError, match="closed"):
        Posting.objects.create(entry=old.entry, account=old.account, amount_tiyn=0)


@pytest.mark.case("R118")
@pytest.mark.parametrize("table", LEDGER)
@pytest.mark.parametrize(
    "statement", ["DELETE FROM {0}", "UPDATE {0} SET {1} = {1}", "TRUNCATE {0} CASCADE"]
)
@pytest.mark.django_db
def test_facts_are_never_changed(table: str, statement: str) -> None:
    """Not even by the tables' owner."""
    Demand().receive("BTC", 10_000)
    with transaction.atomic():
        book_sweep(source="tx", asset=BTC.caip19, quantity=10_000, effective_at=NOW)
        fill = Fill(source="fill", asset=BTC.caip19, quantity=1, proceeds_tiyn=45)
        book_fill(fill, effective_at=NOW)
    close_day(day=date(2020, 1, 1), closed_by="Aigul")
    SealedEntry.objects.create(sequence=1, entry_id=1, booked_xid=1, entry_hash=b"", chain_hash=b"")
    key = "sequence" if table == "settlement_sealedentry" else "id"
    with connection.cursor() as cursor:
        cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")
        with pytest.raises(IntegrityError, match="is refused"):
            cursor.execute(statement.format(table, key))


@pytest.mark.case("R118")
@pytest.mark.django_db
def test_money_cannot_be_moved_by_renaming_an_account() -> None:
    Demand().receive("BTC", 10_000)
    rename = "UPDATE settlement_account SET beneficiary = 'thief' WHERE code = 'merchant_payable'"
    with connection.cursor() as cursor, transaction.atomic():
        cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")
        with pytest.raises(IntegrityError, match="is refused"), transaction.atomic():
            cursor.execute(rename)
    assert balance_of(MERCHANT_PAYABLE, beneficiary="thief") == 0


@pytest.mark.case("R118")
@pytest.mark.django_db
def test_the_applications_role_works_in_every_room_and_changes_no_ledger() -> None:
    rights = ("SELECT", "INSERT", "UPDATE", "DELETE", "TRUNCATE")
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT DISTINCT tgrelid::regclass::text FROM pg_trigger"
            " WHERE tgfoid = 'settlement_refuse_change'::regproc"
        )
        facts = {table for (table,) in cursor.fetchall()}
    assert facts >= {*LEDGER, "settlement_payout"}
    for model in apps.get_models(include_auto_created=True):
        table = model._meta.db_table
        may = {"SELECT", "INSERT"} if table in facts else {"SELECT", "INSERT", "UPDATE", "DELETE"}
        with connection.cursor() as cursor:
            for right in rights:
                cursor.execute("SELECT has_table_privilege('alatau_app', %s, %s)", [table, right])
                assert cursor.fetchone() == (right in may,), (table, right)


@pytest.mark.case("R118")
@pytest.mark.django_db
@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE settlement_quote SET price_tiyn = 1",
        "DELETE FROM settlement_posting",
        "INSERT INTO django_migrations (app, name, applied) VALUES ('x', 'x', now())",
        "DROP TRIGGER posting_immutable ON settlement_posting",
        "SET session_replication_role = replica",
    ],
)
def test_the_application_cannot_step_over_the_guards(statement: str, app_role: None) -> None:
    refused = pytest.raises(ProgrammingError, match=r"permission denied|must be owner")
    with connection.cursor() as cursor, refused:
        cursor.execute(statement)


def at_once(*jobs: Callable[[], None]) -> list[Exception]:
    """Run jobs in threads, each in a transaction of its own; return what they raised."""
    errors: list[Exception] = []

    def run(job: Callable[[], None]) -> None:
        try:
            become_the_app()
            with transaction.atomic():
                job()
        except OperationalError as error:
            errors.append(error)
        finally:
            connection.close()

    threads = [threading.Thread(target=run, args=[job]) for job in jobs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return errors


@pytest.mark.case("R113")
def test_eight_at_once_book_once(committed: None, app_role: None) -> None:
    demand = Demand()
    start = threading.Barrier(8)
    booked: list[int] = []

    def job() -> None:
        start.wait()
        booked.append(demand.receive("BTC", 10_000).payable_tiyn)

    assert at_once(*[job] * 8) == []
    assert booked == [450_000] * 8
    assert demand.owed(MERCHANT_PAYABLE) == 450_000
    assert JournalEntry.objects.count() == 2


@pytest.mark.case("R116")
def test_accounts_opened_in_two_orders_deadlock(committed: None) -> None:
    """The negative twin of the next test: so it would go without one order."""
    both_hold_one = threading.Barrier(2)

    def job(*owners: str) -> Callable[[], None]:
        def create() -> None:
            for owner in owners:
                Account.objects.create(code="merchant_payable", kind="liability", beneficiary=owner)
                if owner == owners[0]:
                    both_hold_one.wait()

        return create

    errors = at_once(job("aigul", "bolat"), job("bolat", "aigul"))
    assert ["deadlock detected" in str(error) for error in errors] == [True]


@pytest.mark.case("R116")
def test_accounts_are_opened_in_one_order(committed: None) -> None:
    names = [f"shop {number:03}" for number in range(300)]
    start = threading.Barrier(4)

    def job(owners: list[str]) -> Callable[[], None]:
        def create() -> None:
            start.wait()
            open_accounts(beneficiaries=owners)

        return create

    assert at_once(*(job(names[turn:] + names[:turn]) for turn in (0, 100, 200, 299))) == []
    shared = [one for one in CHART if not one.per_beneficiary]
    each = len(CHART) - len(shared)
    assert Account.objects.count() == len(names) * each + len(shared)


def post_by_hand(account: Account, tiyn: int, balance_tiyn: int | None, units: int = 0) -> None:
    """Write an entry past the function that posts, as any writer could."""
    open_accounts(beneficiaries=[])
    rounding = Account.objects.get(code="rounding")
    with transaction.atomic():
        row = JournalEntry.objects.create(
            kind="t", source="s", subject="s", occurred_at=NOW, effective_at=NOW
        )
        Posting.objects.bulk_create(
            [
                Posting(
                    entry=row,
                    account=account,
                    amount_tiyn=tiyn,
                    asset="x",
                    quantity=units,
                    balance_tiyn=balance_tiyn,
                ),
                Posting(entry=row, account=rounding, amount_tiyn=-tiyn, asset="x"),
            ]
        )


@pytest.mark.case("R124")
@pytest.mark.parametrize("balance_tiyn", [None, 0, -450_000, -449_994, 5])
def test_a_balance_that_does_not_go_on_is_refused(
    committed: None, app_role: None, balance_tiyn: int | None
) -> None:
    Demand().receive("BTC", 10_000)
    payable = Account.objects.get(code="merchant_payable")
    with pytest.raises(IntegrityError, match="does not go on"):
        post_by_hand(payable, 5, balance_tiyn)
    post_by_hand(payable, 5, -449_995)


def test_a_shared_account_keeps_no_balance(committed: None, app_role: None) -> None:
    Demand().receive("BTC", 10_000)
    with pytest.raises(IntegrityError, match="does not go on"):
        post_by_hand(Account.objects.get(code="coins_held"), 5, 450_005)


def test_quantities_balance_by_the_databases_word(committed: None, app_role: None) -> None:
    Demand().receive("BTC", 10_000)
    with pytest.raises(IntegrityError, match="out of balance by some x"):
        post_by_hand(Account.objects.get(code="coins_held"), 5, None, units=1)


def test_a_posting_needs_an_account(committed: None, app_role: None) -> None:
    Demand().receive("BTC", 10_000)
    with pytest.raises(IntegrityError, match="no account 987"):
        post_by_hand(Account(pk=987), 5, None)


@pytest.mark.django_db
@pytest.mark.parametrize("text", ["a\x1fb", "\x1f"])
def test_a_value_that_holds_a_separator_is_refused(text: str) -> None:
    lines = Line(account=COINS_HELD, amount_tiyn=5), Line(account=ROUNDING, amount_tiyn=-5)
    odd = replace(entry(*lines), memo=text)
    with transaction.atomic(), pytest.raises(LedgerError, match="control character"):
        post_entries([odd])
