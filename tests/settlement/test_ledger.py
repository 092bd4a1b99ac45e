"""The ledger: balanced and unchangeable by the database's own word, exact to the tiyn."""

import threading
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from uuid import UUID

import pytest
from django.db import IntegrityError, connection, transaction
from hypothesis import given
from hypothesis import strategies as st

from chains.assets import Asset
from settlement import money
from settlement.accounts import COINS_HELD, MERCHANT_PAYABLE, OVERPAYMENTS, ROUNDING
from settlement.entries import book_receipt, reverse_receipt
from settlement.ledger import (
    Line,
    SourceConflictError,
    UnbalancedEntryError,
    balance_of,
    post_entry,
    trial_balance,
)
from settlement.models import JournalEntry, Posting, Quote
from settlement.money import payable_step, quantity_rounded_up
from settlement.rates.quoting import lock_quotes, quantity_for, worth_exact
from settlement.rates.sources import FixedSource, RateUnavailableError

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)
BTC = Asset(caip19="bip122:0f/slip44:1", symbol="BTC", name="Bitcoin", decimals=8)
USDT = Asset(caip19="eip155:1/erc20:0x0", symbol="USDT", name="Tether USD", decimals=6)
ETH = Asset(caip19="eip155:1/slip44:60", symbol="ETH", name="Ether", decimals=18)
RATES = FixedSource(
    {"BTC": Decimal(45_000_000), "USDT": Decimal("475.37"), "ETH": Decimal("1512345.67")}
)


def quote(amount_tiyn: int = 450_000) -> UUID:
    (fact,) = lock_quotes(
        amount_tiyn=amount_tiyn, assets=[BTC], expires_at=NOW + timedelta(hours=1), source=RATES
    )
    return fact.id


def book(  # noqa: ANN201
    quote_id: UUID,
    quantity: int,
    *,
    source: str = "tx/out:0",
    owed: int = 450_000,
    completes: bool = False,
):
    with transaction.atomic():
        return book_receipt(
            source=source,
            beneficiary="aigul",
            quote_id=quote_id,
            quantity=quantity,
            owed_tiyn=owed,
            completes=completes,
            effective_at=NOW,
        )


@pytest.mark.django_db
def test_an_exact_payment_is_owed_whole_and_booked_once() -> None:
    quote_id = quote()
    booked = book(quote_id, 10_000)
    again = book(quote_id, 10_000)

    assert (booked.worth_tiyn, booked.payable_tiyn, booked.already) == (450_000, 450_000, False)
    assert (again.entry_id, again.payable_tiyn, again.already) == (booked.entry_id, 450_000, True)
    assert balance_of(MERCHANT_PAYABLE, beneficiary="aigul") == -450_000
    assert balance_of(COINS_HELD) == 450_000
    assert trial_balance().difference_tiyn == 0


@pytest.mark.django_db
def test_a_source_with_other_figures_is_refused() -> None:
    quote_id = quote()
    book(quote_id, 10_000)
    with pytest.raises(SourceConflictError):
        book(quote_id, 9_999)


@pytest.mark.case("R122")
@pytest.mark.django_db
def test_what_rounding_up_adds_goes_to_rounding() -> None:
    quote_id = quote(100_001)
    quantity = int(Quote.objects.get(pk=quote_id).quantity)
    booked = book(quote_id, quantity, owed=100_001)
    assert booked.payable_tiyn == 100_001
    assert 0 < -balance_of(ROUNDING) <= 45


@pytest.mark.case("R122")
@pytest.mark.django_db
@pytest.mark.parametrize("amount_tiyn", [1, 99_000, 100_001, 123_456_750])
def test_ether_is_asked_for_in_eight_digits_and_what_that_adds_is_rounding(
    amount_tiyn: int,
) -> None:
    (ether,) = lock_quotes(
        amount_tiyn=amount_tiyn, assets=[ETH], expires_at=NOW + timedelta(hours=1), source=RATES
    )
    assert ether.quantity % 10**10 == 0
    booked = book(ether.id, ether.quantity, owed=amount_tiyn)
    assert booked.payable_tiyn == amount_tiyn
    assert balance_of(OVERPAYMENTS, beneficiary="aigul") == 0


@pytest.mark.case("R122")
@pytest.mark.django_db
def test_one_payable_step_too_much_is_the_payers_and_not_rounding() -> None:
    exact = 151_234_567_000  # a whole number of steps: nothing is rounded
    (ether,) = lock_quotes(
        amount_tiyn=exact, assets=[ETH], expires_at=NOW + timedelta(hours=1), source=RATES
    )
    assert worth_exact(ether, quantity=ether.quantity) == exact
    book(ether.id, ether.quantity + 10**10, owed=exact)
    assert balance_of(ROUNDING) == 0
    assert balance_of(OVERPAYMENTS, beneficiary="aigul") == -1


@pytest.mark.case("R27")
@pytest.mark.django_db
def test_parts_lose_no_tiyn_and_too_much_is_kept_apart() -> None:
    quote_id = quote(100_000)
    owed = 100_000
    for number, quantity in enumerate((1, 741, 741, 738)):
        owed -= book(quote_id, quantity, source=f"tx/out:{number}", owed=owed).payable_tiyn
    assert owed == 100_000 - 2_221 * 45
    book(quote_id, 1_000, source="more", owed=owed)
    assert balance_of(MERCHANT_PAYABLE, beneficiary="aigul") == -100_000
    assert balance_of(OVERPAYMENTS, beneficiary="aigul") < -40_000


@pytest.mark.case("R28")
@pytest.mark.django_db
@pytest.mark.parametrize("percent", [1, 33, 50, 77, 99])
@pytest.mark.parametrize("amount_tiyn", [1_00, 333_33, 1_000_01, 450_000])
def test_parts_in_two_coins_are_owed_whole(amount_tiyn: int, percent: int) -> None:
    bitcoin, usdt = lock_quotes(
        amount_tiyn=amount_tiyn,
        assets=[BTC, USDT],
        expires_at=NOW + timedelta(hours=1),
        source=RATES,
    )
    part = max(1, bitcoin.quantity * percent // 100)
    rest = quantity_for(usdt, amount_tiyn=amount_tiyn - worth_exact(bitcoin, quantity=part))
    first = book(bitcoin.id, part, source="first", owed=amount_tiyn)
    left = amount_tiyn - first.payable_tiyn
    book(usdt.id, rest, source="second", owed=left, completes=True)
    assert balance_of(MERCHANT_PAYABLE, beneficiary="aigul") == -amount_tiyn
    assert balance_of(OVERPAYMENTS, beneficiary="aigul") == 0
    assert trial_balance().difference_tiyn == 0


@pytest.mark.case("R5")
@pytest.mark.django_db
def test_a_reversal_undoes_once_and_the_payment_may_return() -> None:
    quote_id = quote()
    book(quote_id, 10_000)
    assert reverse_receipt(source="tx/out:0", reason="reorganised", effective_at=NOW)
    assert not reverse_receipt(source="tx/out:0", reason="reorganised", effective_at=NOW)
    assert balance_of(MERCHANT_PAYABLE, beneficiary="aigul") == 0

    assert book(quote_id, 10_000).already is False
    assert balance_of(MERCHANT_PAYABLE, beneficiary="aigul") == -450_000
    assert JournalEntry.objects.count() == 3


@pytest.mark.django_db
def test_an_unbalanced_entry_is_refused_before_the_database() -> None:
    lines = [Line(account=COINS_HELD, amount_tiyn=5), Line(account=ROUNDING, amount_tiyn=-4)]
    with transaction.atomic(), pytest.raises(UnbalancedEntryError):
        post_entry(kind="test", source="x", subject="x", lines=lines, effective_at=NOW)


@transaction.atomic
def write_by_hand(*amounts_tiyn: int) -> None:
    account = Posting.objects.all()[0].account
    entry = JournalEntry.objects.create(kind="t", source="s", subject="s", effective_at=NOW)
    for amount_tiyn in amounts_tiyn:
        Posting.objects.create(entry=entry, account=account, amount_tiyn=amount_tiyn)


def test_the_database_refuses_an_unbalanced_entry(committed: None) -> None:
    book(quote(), 10_000)
    with pytest.raises(IntegrityError, match="out of balance by 7"):
        write_by_hand(10, -3)
    with pytest.raises(IntegrityError, match="fewer than two"):
        write_by_hand()


def test_a_closed_entry_takes_no_more_postings(committed: None) -> None:
    book(quote(), 10_000)
    old = Posting.objects.all()[0]
    with pytest.raises(IntegrityError, match="closed"):
        Posting.objects.create(entry=old.entry, account=old.account, amount_tiyn=0)


@pytest.mark.case("R118")
@pytest.mark.parametrize(
    "table", ["settlement_posting", "settlement_journalentry", "settlement_quote"]
)
@pytest.mark.parametrize(
    "statement", ["DELETE FROM {}", "UPDATE {} SET id = id", "TRUNCATE {} CASCADE"]
)
@pytest.mark.django_db
def test_facts_are_never_changed(table: str, statement: str) -> None:
    book(quote(), 10_000)
    with connection.cursor() as cursor:
        cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")
        with pytest.raises(IntegrityError, match="is refused"):
            cursor.execute(statement.format(table))


@pytest.mark.case("R118")
@pytest.mark.django_db
def test_the_applications_role_may_add_and_not_change() -> None:
    with connection.cursor() as cursor:
        for table in ("settlement_posting", "settlement_journalentry", "settlement_quote"):
            for privilege, expected in (("INSERT", True), ("UPDATE", False), ("DELETE", False)):
                cursor.execute(
                    "SELECT has_table_privilege('alatau_app', %s, %s)", [table, privilege]
                )
                assert cursor.fetchone() == (expected,)


@pytest.mark.case("R113")
def test_eight_at_once_book_once(committed: None) -> None:
    quote_id = quote()
    barrier = threading.Barrier(8)
    already: list[bool] = []

    def run() -> None:
        barrier.wait()
        try:
            already.append(book(quote_id, 10_000).already)
        finally:
            connection.close()

    threads = [threading.Thread(target=run) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(already) == [False] + [True] * 7
    assert balance_of(MERCHANT_PAYABLE, beneficiary="aigul") == -450_000


@pytest.mark.case("R121")
@pytest.mark.django_db
def test_a_float_is_refused() -> None:
    with pytest.raises(TypeError):
        book(quote(), 10_000.0)  # type: ignore[arg-type]


@pytest.mark.case("R67")
@pytest.mark.django_db
@pytest.mark.parametrize("price", ["NaN", "0", "-1", "Infinity"])
def test_a_price_that_is_none_is_refused(price: str) -> None:
    with pytest.raises(RateUnavailableError, match="BTC"):
        FixedSource({"BTC": Decimal(price)}).price_of(BTC)


@given(
    amount_tiyn=st.integers(1, 10**15),
    price_tiyn=st.decimals("0.0001", 10**13, places=6),
    decimals=st.sampled_from([6, 8, 18]),
)
def test_a_quote_is_worth_its_amount_and_one_step_less_is_not(
    amount_tiyn: int, price_tiyn: Decimal, decimals: int
) -> None:
    quantity = quantity_rounded_up(
        amount_tiyn=amount_tiyn, price_tiyn=price_tiyn, decimals=decimals
    )
    step = payable_step(decimals=decimals)
    worth = money.worth_exact(quantity=quantity, price_tiyn=price_tiyn, decimals=decimals)
    less = money.worth_exact(quantity=quantity - step, price_tiyn=price_tiyn, decimals=decimals)
    assert less < amount_tiyn <= worth
    assert quantity % step == 0


@pytest.mark.parametrize("decimals", [0, 6, 8, 18])
def test_a_payable_step_is_the_last_digit_that_a_payer_is_asked_for(decimals: int) -> None:
    asset = Asset(caip19="eip155:1/erc20:0x0", symbol="X", name="X", decimals=decimals)
    assert payable_step(decimals=decimals) == 10 ** (decimals - asset.payable_decimals)
    assert asset.payable_decimals <= 8
