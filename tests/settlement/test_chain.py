"""The chain over the journal: nothing in flight is jumped over, and every touched row is named."""

import json
import re
import threading
from collections.abc import Callable, Iterator
from datetime import date
from hashlib import sha256
from io import StringIO

import pytest
from django.core.management import call_command
from django.db import connection, transaction

from alatau_pay.pipeline import seal_entries as seal_task
from settlement.canonical import hashes_of
from settlement.days import close_day
from settlement.ledger import open_accounts
from settlement.models import JournalEntry, Posting, SealedEntry
from settlement.sealing import SealError, seal_batch, seal_entries
from settlement.verifying import verify_ledger
from tests.conftest import become_the_app
from tests.settlement.demand import Demand
from tests.waiting import wait_until

ENTRIES = 8


def sealed_all() -> bool:
    """Another test process's transaction may hold the horizon back for a moment."""
    seal_entries()
    return SealedEntry.objects.count() == JournalEntry.objects.count()


@pytest.fixture
def chain(committed: None, app_role: None) -> Iterator[None]:
    """Four invoices paid, all sealed."""
    for number in range(ENTRIES // 2):
        Demand(name=f"d{number}").receive("BTC", 10_000, source=f"tx{number}")
    wait_until(sealed_all)
    return


def as_superuser(statement: str, *parameters: object) -> None:
    """Do what no trigger can stop."""
    with connection.cursor() as cursor:
        cursor.execute("SET ROLE NONE; SET session_replication_role = replica")
        cursor.execute(statement, parameters)
        cursor.execute("SET session_replication_role = DEFAULT; SET ROLE alatau_app")


def found() -> set[tuple[str, str]]:
    return {(one.what, one.row) for one in verify_ledger().findings}


def entry(place: int) -> int:
    return SealedEntry.objects.get(sequence=place).entry_id


@pytest.mark.usefixtures("chain")
def test_a_sound_ledger_is_sealed_to_its_end() -> None:
    verification = verify_ledger()
    assert verification.findings == []
    assert (verification.sealed, verification.waiting) == (ENTRIES, 0)
    assert verification.entry_id == JournalEntry.objects.latest("pk").pk
    assert seal_batch() == 0
    Demand(name="more").receive("BTC", 10_000, source="more")
    assert verify_ledger().waiting == 2
    wait_until(sealed_all)
    assert verify_ledger().sealed == ENTRIES + 2


AS_THE_PAGE_SAYS = """
    SELECT json_build_array('alatau-entry-1', e.id, e.kind, e.source, e.subject, e.demand,
        e.reverses_id, e.memo, utc(e.occurred_at), utc(e.effective_at), utc(e.booked_at),
        CASE WHEN q.id IS NOT NULL THEN json_build_array(
            q.id, q.asset, q.decimals, q.amount_tiyn, q.quantity::text, q.price_tiyn::text) END,
        (SELECT json_agg(json_build_array(p.id, a.code, a.beneficiary, p.amount_tiyn, p.asset,
            p.quantity::text, p.balance_tiyn) ORDER BY p.id)
         FROM settlement_posting p JOIN settlement_account a ON a.id = p.account_id
         WHERE p.entry_id = e.id))
    FROM settlement_journalentry e LEFT JOIN settlement_quote q ON q.id = e.quote_id
    JOIN settlement_sealedentry s ON s.entry_id = e.id ORDER BY s.sequence
"""
UTC_TEXT = r"""to_char(\1 AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US') || '+00:00'"""


@pytest.mark.usefixtures("chain")
def test_anybody_can_reckon_the_chain_by_the_page() -> None:
    """Without our code: JSON as docs/ledger.md says, SHA-256, link by link."""
    chain = bytes(32)
    with connection.cursor() as cursor:
        cursor.execute(re.sub(r"utc\((\S+)\)", UTC_TEXT, AS_THE_PAGE_SAYS))
        rows = cursor.fetchall()
    for (fields,) in rows:
        text = json.dumps(fields, ensure_ascii=False, separators=(",", ":"))
        chain = sha256(chain + sha256(text.encode()).digest()).digest()
    assert (len(rows), chain.hex()) == (ENTRIES, verify_ledger().chain_hash)


TAMPERINGS = [
    "UPDATE settlement_posting SET amount_tiyn = amount_tiyn + 1 WHERE entry_id = %s",
    "UPDATE settlement_posting SET quantity = 1 WHERE entry_id = %s",
    "UPDATE settlement_posting SET balance_tiyn = 1 WHERE entry_id = %s",
    "UPDATE settlement_posting SET account_id = account_id + 1 WHERE entry_id = %s",
    "UPDATE settlement_journalentry SET memo = 'x' WHERE id = %s",
    "UPDATE settlement_journalentry SET occurred_at = occurred_at - interval '1 us' WHERE id = %s",
    """UPDATE settlement_quote q SET price_tiyn = 1 FROM settlement_journalentry e
       WHERE e.quote_id = q.id AND e.id = %s""",
    """DELETE FROM settlement_posting WHERE id =
       (SELECT max(id) FROM settlement_posting WHERE entry_id = %s)""",
    """INSERT INTO settlement_posting (entry_id, account_id, amount_tiyn, asset, quantity)
       SELECT %s, min(id), 0, '', 0 FROM settlement_account""",
]


@pytest.mark.usefixtures("chain")
@pytest.mark.parametrize("statement", TAMPERINGS)
def test_a_tampered_row_is_named(statement: str) -> None:
    touched = entry(3)
    as_superuser(statement, touched)
    assert found() == {("tampered", f"entry {touched}")}


@pytest.mark.usefixtures("chain")
def test_a_renamed_account_is_named_by_every_entry_on_it() -> None:
    """Whose money it is stands in each entry's hash."""
    payable = "UPDATE settlement_account SET beneficiary = 'thief' WHERE code = 'merchant_payable'"
    as_superuser(payable)
    rows = Posting.objects.filter(account__code="merchant_payable")
    assert found() == {("tampered", f"entry {pk}") for pk in rows.values_list("entry", flat=True)}


@pytest.mark.usefixtures("chain")
def test_a_missing_row_is_named() -> None:
    gone = entry(5)
    as_superuser("DELETE FROM settlement_journalentry WHERE id = %s", gone)
    lines = Posting.objects.filter(entry_id=gone).values_list("pk", flat=True)
    orphans = {("orphan", f"posting {pk} of entry {gone}") for pk in lines}
    assert found() == {("missing", f"entry {gone}")} | orphans


@pytest.mark.usefixtures("chain")
def test_an_inserted_row_is_named() -> None:
    """One that pretends to be of a transaction that is sealed already."""
    old = JournalEntry.objects.get(pk=entry(4))
    as_superuser(
        "INSERT INTO settlement_journalentry (kind, source, subject, demand, memo, occurred_at,"
        " effective_at, booked_xid) VALUES ('t', 'x', 'x', '', '', %s, %s, %s)",
        old.occurred_at,
        old.effective_at,
        old.booked_xid,
    )
    seal_entries()
    assert found() == {("inserted", f"entry {JournalEntry.objects.latest('pk').pk}")}


@pytest.mark.usefixtures("chain")
@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE settlement_sealedentry SET chain_hash = sha256('x') WHERE sequence = 4",
        "UPDATE settlement_sealedentry SET sequence = 99 WHERE sequence = 8",
    ],
)
def test_a_tampered_chain_is_named(statement: str) -> None:
    as_superuser(statement)
    assert {what for what, _row in found()} == {"seal"}


@pytest.mark.usefixtures("chain")
def test_who_hides_a_change_in_the_seal_breaks_the_chain_after_it() -> None:
    touched = entry(3)
    as_superuser("UPDATE settlement_journalentry SET memo = 'x' WHERE id = %s", touched)
    new = hashes_of([touched])[touched]
    as_superuser("UPDATE settlement_sealedentry SET entry_hash = %s WHERE sequence = 3", new)
    assert found() == {("seal", f"seal 3 of entry {touched}")}


@pytest.mark.usefixtures("chain")
def test_who_rewrites_the_whole_chain_is_told_by_a_hash_that_was_written_down() -> None:
    noted = verify_ledger()
    anchor = (noted.sealed, noted.chain_hash)
    as_superuser("UPDATE settlement_journalentry SET memo = 'x' WHERE id = %s", entry(3))
    as_superuser("DELETE FROM settlement_sealedentry")
    wait_until(sealed_all)
    assert found() == set()
    told = verify_ledger(anchor=anchor).findings
    assert [(one.what, one.row) for one in told] == [("anchor", f"seal {ENTRIES}")]
    assert verify_ledger(anchor=(ENTRIES + 1, noted.chain_hash)).findings


@pytest.mark.usefixtures("chain")
def test_a_change_in_a_closed_day_is_named() -> None:
    with transaction.atomic():
        close_day(day=date(2020, 1, 1), closed_by="Aigul")
        close_day(day=date(2020, 1, 2), closed_by="Aigul")
    assert found() == set()
    as_superuser("UPDATE settlement_closedday SET totals = '[1]' WHERE day = '2020-01-02'")
    assert found() == {("day", "day 2020-01-02")}


@pytest.mark.usefixtures("chain")
def test_the_command_names_rows_and_fails() -> None:
    def run(**options: object) -> str:
        out = StringIO()
        call_command("verify_ledger", stdout=out, **options)
        return out.getvalue()

    assert f"Sealed: {ENTRIES} entries" in run()
    told = json.loads(run(json=True))
    assert (told["sealed"], told["findings"]) == (ENTRIES, [])
    run(anchor=(ENTRIES, told["chain_hash"]))
    Demand(name="more").receive("BTC", 10_000, source="more")
    assert "Waiting to be sealed: 2 entries" in run()
    touched = entry(2)
    as_superuser("UPDATE settlement_journalentry SET memo = 'x' WHERE id = %s", touched)
    with pytest.raises(SystemExit) as exited:
        run(json=True)
    assert exited.value.code == 1


@pytest.mark.django_db
def test_an_empty_ledger_is_sound() -> None:
    out = StringIO()
    call_command("verify_ledger", stdout=out)
    assert "Nothing is sealed" in out.getvalue()


def in_another(job: Callable[[], None]) -> threading.Thread:
    def run() -> None:
        become_the_app()
        try:
            job()
        finally:
            connection.close()

    thread = threading.Thread(target=run)
    thread.start()
    return thread


def test_an_entry_in_flight_is_not_jumped_over(committed: None, app_role: None) -> None:
    """A booking that began first commits last; its entry has the lower id, and is sealed first."""
    posted, commit = threading.Event(), threading.Event()
    open_accounts(beneficiaries=[])  # who opens an account holds up whoever opens it too

    def slow() -> None:
        with transaction.atomic():
            Demand(name="slow", beneficiary="bolat").receive("BTC", 10_000, source="slow")
            posted.set()
            assert commit.wait(20)

    thread = in_another(slow)
    assert posted.wait(20)
    Demand(name="quick").receive("BTC", 10_000, source="quick")
    assert seal_entries() == 0
    assert verify_ledger().waiting == 2
    commit.set()
    thread.join()
    wait_until(sealed_all)
    order = list(SealedEntry.objects.order_by("sequence").values_list("entry_id", flat=True))
    demands = dict(JournalEntry.objects.values_list("pk", "demand"))
    assert [demands[pk] for pk in order] == ["slow", "slow", "quick", "quick"]
    assert found() == set()


def test_two_sealers_at_once_make_one_chain(committed: None, app_role: None) -> None:
    for number in range(10):
        Demand(name=f"d{number}").receive("BTC", 10_000, source=f"tx{number}")
    threads = [in_another(seal_task) for _ in range(4)]
    for thread in threads:
        thread.join()
    wait_until(sealed_all)
    assert verify_ledger().sealed == 20
    assert found() == set()


def test_a_dump_in_a_younger_cluster_is_told_at_once(committed: None, app_role: None) -> None:
    """Its transactions are counted anew, so what is booked there would seem to come before."""
    Demand().receive("BTC", 10_000)
    wait_until(sealed_all)
    as_superuser("UPDATE settlement_sealedentry SET booked_xid = booked_xid + 1000000000")
    with pytest.raises(SealError, match="sealed already"):
        seal_batch()
