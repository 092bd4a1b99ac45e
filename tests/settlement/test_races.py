"""A hundred at once for the same tiyn, on real PostgreSQL; each race with its negative twin."""

import threading
from collections import Counter
from collections.abc import Callable, Sequence

import pytest
from django.db import DatabaseError, IntegrityError, connection, transaction

from settlement.accounts import (
    BANK_SETTLEMENT,
    COINS_HELD,
    COINS_IN_TREASURY,
    MERCHANT_PAYABLE,
    MERCHANT_RECEIVABLE,
    PAYOUTS_IN_TRANSIT,
    REFUNDS_PAYABLE,
    ROUNDING,
)
from settlement.conversions import Fill, book_fill
from settlement.ledger import (
    Entry,
    InsufficientFundsError,
    LedgerError,
    Line,
    SourceConflictError,
    balance_of,
    lock_beneficiaries,
    moved,
    open_accounts,
    post_entries,
    trial_balance,
)
from settlement.models import Account, JournalEntry, LotUse, Posting
from settlement.payout_entries import book_payout, confirm_payout, return_payout
from settlement.refund_entries import Refund, approve_refund, cancel_refund
from settlement.treasury import book_sweep
from tests.conftest import become_the_app
from tests.settlement.demand import BTC, NOW, Demand

pytestmark = [pytest.mark.usefixtures("committed", "app_role"), pytest.mark.xdist_group("hundred")]
MANY = 100
WHO = {"beneficiary": "aigul", "effective_at": NOW}


def race(jobs: Sequence[Callable[[], object]]) -> Counter[str]:
    """Start all jobs at one moment, each in a transaction of its own; count how they ended."""
    ends: list[str] = []
    start = threading.Barrier(len(jobs))

    def run(job: Callable[[], object]) -> None:
        try:
            become_the_app()
            with connection.cursor() as cursor:
                cursor.execute("SET lock_timeout = 0; SET statement_timeout = 0")
            start.wait(120)
            with transaction.atomic():
                done = job()
            ends.append(str(done))
        except (LedgerError, DatabaseError) as error:
            ends.append(type(error).__name__)
        finally:
            connection.close()

    threads = [threading.Thread(target=run, args=[job]) for job in jobs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return Counter(ends)


def owed(*accounts: object) -> list[int]:
    return [-balance_of(one, beneficiary="aigul") for one in accounts]  # type: ignore[arg-type]


def refund(number: int) -> Refund:
    return Refund(
        source=f"refund {number}",
        demand="demand",
        beneficiary="aigul",
        taken_from=MERCHANT_PAYABLE,
        amount_tiyn=10_000,
    )


@pytest.mark.case("R124")
def test_a_hundred_refunds_and_payouts_take_what_is_owed_and_no_more() -> None:
    Demand(455_000).receive("BTC", 10_112)
    ends = race(
        [
            (lambda n=n: book_payout(source=f"payout {n}", amount_tiyn=10_000, **WHO))
            if n % 2
            else (lambda n=n: approve_refund(refund(n), effective_at=NOW))
            for n in range(MANY)
        ]
    )
    assert ends == {"True": 45, InsufficientFundsError.__name__: 55}
    payable, refunds, payouts = owed(MERCHANT_PAYABLE, REFUNDS_PAYABLE, PAYOUTS_IN_TRANSIT)
    assert (payable, refunds + payouts) == (5_000, 450_000)
    assert trial_balance().difference_tiyn == 0


def pay_without_a_lock(number: int, all_have_read: threading.Barrier) -> bool:
    """What a careless writer does: look, and then act on what was seen."""
    [seen] = owed(MERCHANT_PAYABLE)
    all_have_read.wait(120)
    accounts = {
        one.code: one for one in Account.objects.filter(code__in=["merchant_payable", "rounding"])
    }
    entry = JournalEntry.objects.create(
        kind="payout", source=str(number), subject="x", occurred_at=NOW, effective_at=NOW
    )
    Posting.objects.bulk_create(
        [
            Posting(
                entry=entry,
                account=accounts["merchant_payable"],
                amount_tiyn=450_000,
                balance_tiyn=450_000 - seen,
            ),
            Posting(entry=entry, account=accounts["rounding"], amount_tiyn=-450_000),
        ]
    )
    return True


@pytest.mark.case("R124")
@pytest.mark.parametrize("guarded", [True, False])
def test_the_database_stops_writers_that_take_no_lock(*, guarded: bool) -> None:
    """And the negative twin: without its triggers, all of them pay out the same tiyn."""
    Demand().receive("BTC", 10_000)
    open_accounts(beneficiaries=[])
    all_have_read = threading.Barrier(8)

    def job(number: int) -> Callable[[], bool]:
        def pay() -> bool:
            if not guarded:
                with connection.cursor() as cursor:
                    cursor.execute("SET ROLE NONE; SET session_replication_role = replica")
            return pay_without_a_lock(number, all_have_read)

        return pay

    ends = race([job(number) for number in range(8)])
    paid = Posting.objects.filter(account__code="merchant_payable", amount_tiyn__gt=0).count()
    if guarded:
        assert ends == {"True": 1, IntegrityError.__name__: 7}
        assert (paid, owed(MERCHANT_PAYABLE)) == (1, [0])
    else:
        assert (ends, paid) == ({"True": 8}, 8)


@pytest.mark.case("R126")
def test_a_hundred_that_pay_out_the_same_payout_pay_it_once() -> None:
    Demand().receive("BTC", 10_000)
    ends = race([lambda: book_payout(source="payout", amount_tiyn=100_000, **WHO)] * MANY)
    assert ends == {"True": 1, "False": MANY - 1}
    assert owed(MERCHANT_PAYABLE, PAYOUTS_IN_TRANSIT) == [350_000, 100_000]


@pytest.mark.case("R126")
def test_the_same_payout_under_a_name_for_each_worker_is_paid_by_each() -> None:
    """The negative twin: what makes them one is the source, so a source names the event."""
    Demand().receive("BTC", 10_000)
    ends = race(
        [
            lambda n=n: book_payout(source=f"worker {n}", amount_tiyn=100_000, **WHO)
            for n in range(8)
        ]
    )
    assert ends == {"True": 4, InsufficientFundsError.__name__: 4}


@pytest.mark.case("R125")
def test_a_payout_that_is_confirmed_and_returned_at_once_ends_one_way() -> None:
    Demand().receive("BTC", 10_000)
    with transaction.atomic():
        book_payout(source="payout", amount_tiyn=100_000, **WHO)
    ends = race(
        [
            (lambda: confirm_payout(source="payout", **WHO))
            if n % 2
            else (lambda: return_payout(source="payout", reason="closed", **WHO))
            for n in range(20)
        ]
    )
    assert owed(MERCHANT_PAYABLE, PAYOUTS_IN_TRANSIT) == [450_000, 0]
    assert balance_of(BANK_SETTLEMENT) == 0
    # Returned before it was confirmed, a confirmation is refused; after, it came back to the bank.
    assert ends["True"] in {1, 2}
    assert ends["True"] + ends["False"] + ends[SourceConflictError.__name__] == 20


@pytest.mark.case("R126")
def test_a_refund_that_is_cancelled_by_many_comes_back_once() -> None:
    Demand().receive("BTC", 10_000)
    with transaction.atomic():
        approve_refund(refund(1), effective_at=NOW)
    ends = race([lambda: cancel_refund(source="refund 1", reason="", **WHO)] * 20)
    assert ends == {"True": 1, "False": 19}
    assert owed(MERCHANT_PAYABLE, REFUNDS_PAYABLE) == [450_000, 0]


@pytest.mark.case("R128")
def test_payouts_race_a_payment_that_the_chain_takes_back() -> None:
    """However they meet, what was paid out and not earned is the shop's debt, to the tiyn."""
    first, second = Demand(name="first"), Demand(name="second")
    first.receive("BTC", 10_000, source="one")
    second.receive("BTC", 10_000, source="two")
    ends = race(
        [
            lambda: first.take_back("one").is_settled,
            *[
                lambda n=n: book_payout(source=f"payout {n}", amount_tiyn=90_000, **WHO)
                for n in range(MANY - 1)
            ],
        ]
    )
    paid_out = 90_000 * ends["True"]
    payable, debt = owed(MERCHANT_PAYABLE, MERCHANT_RECEIVABLE)
    assert ends["False"] == 1
    assert payable + debt == 450_000 - paid_out
    assert min(payable, -debt) == 0
    assert trial_balance().difference_tiyn == 0


@pytest.mark.case("R127")
def test_a_hundred_fills_take_each_coin_once() -> None:
    Demand().receive("BTC", 10_000)
    with transaction.atomic():
        book_sweep(source="tx", asset=BTC.caip19, quantity=10_000, effective_at=NOW)
    ends = race(
        [
            lambda n=n: book_fill(
                Fill(source=f"fill {n}", asset=BTC.caip19, quantity=333, proceeds_tiyn=15_000),
                effective_at=NOW,
            )
            for n in range(MANY)
        ]
    )
    assert ends == {"True": 30, InsufficientFundsError.__name__: 70}
    places = list(LotUse.objects.order_by("pk").values_list("units_before", flat=True))
    assert places == [333 * n for n in range(30)]
    assert balance_of(COINS_IN_TREASURY) == 10 * 45


def book_for(names: Sequence[str], *, at_once: bool, both_hold_one: threading.Barrier) -> None:
    """Book for shops one after the other; lock them all first, or each when its turn comes."""
    if at_once:
        lock_beneficiaries(names)
    for name in names:
        lines = moved(debit=COINS_HELD, credit=MERCHANT_PAYABLE, amount_tiyn=5, beneficiary=name)
        source = f"{names} {name}"
        entry = Entry(kind="t", source=source, subject="x", lines=lines, effective_at=NOW)
        post_entries([entry])
        if not at_once and name == names[0]:
            both_hold_one.wait(60)


@pytest.mark.case("R116")
@pytest.mark.parametrize("at_once", [True, False])
def test_sets_of_shops_are_locked_in_one_order(*, at_once: bool) -> None:
    """And the negative twin: shop by shop, in the order in which they come, two sets deadlock."""
    open_accounts(beneficiaries=["aigul", "bolat"])
    both_hold_one = threading.Barrier(2)
    ends = race(
        [
            lambda: book_for(("aigul", "bolat"), at_once=at_once, both_hold_one=both_hold_one),
            lambda: book_for(("bolat", "aigul"), at_once=at_once, both_hold_one=both_hold_one),
        ]
    )
    assert ends == ({"None": 2} if at_once else {"None": 1, "OperationalError": 1})


def test_shops_do_not_wait_for_each_other() -> None:
    """All bookings share `coins_held` and `rounding`, and no row of theirs is locked."""
    open_accounts(beneficiaries=["aigul", "bolat"])
    both_posted = threading.Barrier(2)

    def job(name: str) -> Callable[[], bool]:
        def book() -> bool:
            shop = Line(account=MERCHANT_PAYABLE, beneficiary=name, amount_tiyn=-5)
            lines = [
                Line(account=COINS_HELD, amount_tiyn=6),
                shop,
                Line(account=ROUNDING, amount_tiyn=-1),
            ]
            post_entries([Entry(kind="t", source=name, subject="x", lines=lines, effective_at=NOW)])
            both_posted.wait(60)  # neither has committed
            return True

        return book

    assert race([job("aigul"), job("bolat")]) == {"True": 2}
