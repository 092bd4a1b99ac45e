"""Applying what the chains did: right in any order, bounded under spam, stopped by nobody."""

import os
import threading
from collections import defaultdict
from datetime import datetime, timedelta
from fractions import Fraction
from math import floor
from typing import Final
from uuid import uuid4

import psycopg
import pytest
from django.core.management import call_command
from django.db import DatabaseError, OperationalError, connection, transaction
from django.test import Client
from hypothesis import HealthCheck, given
from hypothesis import settings as bounded
from hypothesis import strategies as st
from pytest_django import DjangoAssertNumQueries
from pytest_django.fixtures import Settings

from alatau_pay.devnet import anvil, bitcoind
from alatau_pay.devnet.contracts import artefact
from alatau_pay.devnet.nodes import Devnet
from chains.addresses import allocate_address
from chains.models import Transfer, TransferState
from chains.networks import registry
from merchants import settling
from merchants.invoices import EXPIRES_IN_MAX, InvoiceError, issue_invoice, uri_of
from merchants.models import (
    Invoice,
    InvoicePayment,
    OutboxEvent,
    QuarantinedTransfer,
    Shop,
    TransferCursor,
)
from merchants.settling import GONE, apply_transfers, networks_applied
from settlement.accounts import (
    COINS_HELD,
    MERCHANT_PAYABLE,
    OVERPAYMENTS,
    ROUNDING,
    UNIDENTIFIED,
    UNSETTLED_RECEIPTS,
    AccountCode,
)
from settlement.ledger import balance_of, trial_balance
from settlement.models import JournalEntry, Posting
from tests.conftest import Listing, become_the_app
from tests.merchants.planted import Story, asset, flip, plant
from tests.merchants.test_invoices import issued, mine, work

pytestmark = [pytest.mark.django_db]
SEEN, INCLUDED, FINAL = TransferState.SEEN, TransferState.INCLUDED, TransferState.FINAL
PRICES_TIYN: Final = {
    "BTC": Fraction(4_500_000_000, 10**8),
    "ETH": Fraction(150_000_000, 10**18),
    "USDT": Fraction(47_500, 10**6),
}
"""Tiyn for one base unit, as the tests' FIXED_RATES say."""
BATCH_QUERIES_MAX: Final = 55
"""Of 500 transfers to one invoice, with the look whether another batch is due."""
as_the_app = pytest.mark.usefixtures("app_role")


def owed(account: AccountCode, shop: Shop) -> int:
    """What an account owes in tiyn, credit positive."""
    return -balance_of(account, beneficiary=str(shop.pk) if account.per_beneficiary else "")


OUTPUTS = st.lists(
    st.tuples(st.sampled_from(sorted(PRICES_TIYN)), st.integers(1, 120), st.booleans()),
    min_size=4,
    max_size=4,
)
"""Coin, percent of what was asked for, and whether it is first seen in time."""
STEPS = st.lists(
    st.tuples(
        st.integers(0, 3), st.sampled_from(sorted(TransferState)), st.booleans(), st.booleans()
    ),
    min_size=1,
    max_size=12,
)
"""Which output is found in which state, mined in time or not, and whether it is applied at once."""


class Model:
    """What must hold, reckoned from the outputs alone, one by one."""

    def __init__(self, amount_tiyn: int) -> None:
        self.amount_tiyn = amount_tiyn
        self.stands: dict[int, tuple[str, int, bool]] = {}

    def take(self, transfer: Transfer, symbol: str, *, on_time: bool) -> None:
        """Take in what a batch says of one output."""
        if transfer.state == FINAL and transfer.pk not in self.stands:
            self.stands[transfer.pk] = symbol, int(transfer.value), on_time
        elif transfer.state in GONE:
            self.stands.pop(transfer.pk, None)

    def balances(self) -> dict[AccountCode, int]:
        """Tiyn owed by account, credit positive."""
        worth: defaultdict[bool, Fraction] = defaultdict(Fraction)
        steps = [Fraction(0)]
        for symbol, value, on_time in self.stands.values():
            worth[on_time] += PRICES_TIYN[symbol] * value
            if on_time:
                steps.append(PRICES_TIYN[symbol] * (10**10 if symbol == "ETH" else 1))
        exact = worth[True]
        everything = floor(exact + worth[False])
        payable = self.amount_tiyn if exact >= self.amount_tiyn else 0
        unsettled = 0 if payable else floor(exact)
        rounding = floor(exact) - payable if payable and exact - payable < max(steps) else 0
        return {
            COINS_HELD: -everything,
            MERCHANT_PAYABLE: payable,
            UNSETTLED_RECEIPTS: unsettled,
            ROUNDING: rounding,
            OVERPAYMENTS: everything - payable - unsettled - rounding,
        }


@as_the_app
@pytest.mark.case("R5")
@pytest.mark.case("R28")
@given(outputs=OUTPUTS, steps=STEPS)
@bounded(
    max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_settled_tenge_are_a_function_of_what_stands(
    networks: Devnet,
    shop: Shop,
    outputs: list[tuple[str, int, bool]],
    steps: list[tuple[int, TransferState, bool, bool]],
) -> None:
    """I2, I3: after any order of events, in any batches, equal to a count from scratch."""
    with transaction.atomic():
        story = Story(shop)
        options = {symbol: story.option(symbol) for symbol in PRICES_TIYN}
        model = Model(story.amount_tiyn)
        rows: dict[int, Transfer] = {}
        waiting: dict[int, bool] = {}
        for number, state, mined_in_time, applies in [*steps, (0, SEEN, True, True)]:
            symbol, percent, seen_in_time = outputs[number]
            option = options[symbol]
            mined_at = story.after(0 if mined_in_time else 90_000)
            if number in rows:
                flip(rows[number], state, mined_at=mined_at)
            else:
                value = max(1, int(option.quantity) * percent // 100)
                seen_at = story.after(0 if seen_in_time else 1)
                (rows[number],) = plant(
                    option, state, value=value, seen_at=seen_at, mined_at=mined_at
                )
            waiting[number] = seen_in_time and mined_in_time
            if not applies:
                continue
            told = OutboxEvent.objects.count()
            networks_told = {rows[changed].network for changed in waiting}
            story.apply()
            assert OutboxEvent.objects.count() == told + len(networks_told)
            for changed, on_time in waiting.items():
                model.take(rows[changed], outputs[changed][0], on_time=on_time)
            waiting.clear()
            expected = model.balances()
            assert {account: owed(account, shop) for account in expected} == expected
            assert (story.states[-1] == "settled") == (expected[MERCHANT_PAYABLE] > 0)
        assert trial_balance().difference_tiyn == 0
        transaction.set_rollback(True)


@as_the_app
@pytest.mark.case("R5")
def test_when_the_chain_takes_the_first_of_two_payments_the_shop_keeps_its_due(
    networks: Devnet, shop: Shop
) -> None:
    """On a real node: the first is replaced after finality, the second mined again."""
    # Coins of its own for each payment, old enough to outlive the reorganisation.
    homes = [networks.bitcoin.call("getnewaddress", wallet="resident") for _ in range(4)]
    amounts = dict.fromkeys(homes, "1")
    networks.bitcoin.call("sendmany", "", amounts, wallet="resident")
    networks.bitcoin.mine(1)
    invoice, option = issued(shop, "BTC")
    first = networks.bitcoin.pay(address=option.address, value_sat=int(option.quantity))
    (block,) = networks.bitcoin.mine(1)
    change = [
        {"txid": one["txid"], "vout": one["vout"]}
        for one in networks.bitcoin.call("listunspent", wallet="resident")
        if one["txid"] == first or one["address"] not in homes
    ]
    networks.bitcoin.call("lockunspent", False, change, wallet="resident")
    second = networks.bitcoin.pay(address=option.address, value_sat=int(option.quantity))
    networks.bitcoin.mine(2)
    work()
    assert owed(OVERPAYMENTS, shop) == 450_000
    raw = networks.bitcoin.call("gettransaction", second, wallet="resident")["hex"]

    networks.bitcoin.call("invalidateblock", block)
    networks.bitcoin.take_back(first)
    networks.bitcoin.mine(2)
    # Its lock time forbade it to wait in the mempool of the shorter chain.
    networks.bitcoin.call("sendrawtransaction", raw)
    networks.bitcoin.mine(2)
    work()
    invoice.refresh_from_db()
    assert not InvoicePayment.objects.get(txid=first).booked
    assert InvoicePayment.objects.get(txid=second).booked
    assert invoice.status == "settled"
    assert owed(MERCHANT_PAYABLE, shop) == 450_000
    assert owed(OVERPAYMENTS, shop) == 0


@as_the_app
@pytest.mark.case("R26")
def test_dust_costs_a_handful_of_queries_and_one_event_a_batch(
    networks: Devnet, shop: Shop, django_assert_max_num_queries: DjangoAssertNumQueries
) -> None:
    story = Story(shop)
    option = story.option("USDT")
    for batch in range(1, 4):
        plant(option, FINAL, value=1, seen_at=story.after(-1), times=500)
        told = OutboxEvent.objects.count()
        with django_assert_max_num_queries(BATCH_QUERIES_MAX):
            apply_transfers(network=anvil.CAIP2)
        assert InvoicePayment.objects.filter(booked=True).count() == 500 * batch
        assert OutboxEvent.objects.count() == told + 1
    assert JournalEntry.objects.count() == 3
    assert owed(UNSETTLED_RECEIPTS, shop) == floor(1_500 * PRICES_TIYN["USDT"])


@as_the_app
@pytest.mark.case("R26")
def test_small_payments_are_booked_each_and_still_cost_a_handful_of_queries(
    networks: Devnet, shop: Shop, django_assert_max_num_queries: DjangoAssertNumQueries
) -> None:
    story = Story(shop)
    plant(story.option("USDT"), FINAL, value=22, seen_at=story.after(-1), times=500)
    with django_assert_max_num_queries(BATCH_QUERIES_MAX):
        apply_transfers(network=anvil.CAIP2)
    assert JournalEntry.objects.filter(kind="receipt").count() == 500
    assert owed(UNSETTLED_RECEIPTS, shop) == floor(500 * 22 * PRICES_TIYN["USDT"])


@as_the_app
def test_a_full_batch_is_followed_by_the_next(networks: Devnet, shop: Shop) -> None:
    stories = [Story(shop) for _ in range(5)]
    for story in stories:
        plant(story.option(), SEEN, value=1, seen_at=story.after(-1))
    touched = apply_transfers(network=bitcoind.CAIP2, limit=2)
    assert touched == sorted(story.invoice.pk for story in stories)
    assert apply_transfers(network=bitcoind.CAIP2, limit=2) == []


@pytest.mark.case("R66")
@pytest.mark.case("R116")
def test_two_networks_and_two_workers_each_settle_the_same_invoices_at_once(
    committed: None, networks: Devnet, shop: Shop
) -> None:
    """Locks are taken in one order: nobody deadlocks, and each output counts once."""
    shops = [
        Shop.objects.create(merchant=shop.merchant, name=str(number), status=shop.status)
        for number in range(4)
    ]
    stories = [Story(one) for one in shops for _ in range(3)]
    for turn in (stories, stories[::-1]):
        for story in turn:
            option = story.option("BTC" if turn is stories else "USDT")
            half = int(option.quantity) // 2 + 1
            plant(option, FINAL, value=half, seen_at=story.after(-1))
    errors: list[Exception] = []
    start = threading.Barrier(4)

    def run(network: str) -> None:
        try:
            become_the_app()
            start.wait()
            apply_transfers(network=network, limit=5)
        except DatabaseError as error:
            errors.append(error)
        finally:
            connection.close()

    threads = [
        threading.Thread(target=run, args=[network]) for network in [*registry().networks] * 2
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert set(Invoice.objects.values_list("status", flat=True)) == {"settled"}
    assert all(owed(MERCHANT_PAYABLE, one) == 3 * 450_000 for one in shops)
    assert JournalEntry.objects.filter(kind="receipt").count() == 24


@as_the_app
@pytest.mark.case("R107")
def test_a_name_that_is_no_network_leaves_no_row(networks: Devnet) -> None:
    assert apply_transfers(network="eip155:666") == []
    assert not TransferCursor.objects.exists()


@as_the_app
def test_what_left_the_registry_still_settles_and_is_shown(
    networks: Devnet, shop: Shop, client: Client, listing: Listing
) -> None:
    story = Story(shop)
    option = story.option("USDT")
    (row,) = plant(option, SEEN, value=int(option.quantity), seen_at=story.after(-1))
    apply_transfers(network=anvil.CAIP2)
    flip(row, FINAL)
    listing.without(anvil.CAIP2)
    assert networks_applied() == {anvil.CAIP2}
    apply_transfers(network=anvil.CAIP2)
    assert Invoice.objects.get().status == "settled"
    assert client.get(f"/i/{story.invoice.token}").status_code == 200
    assert client.get(f"/i/{story.invoice.token}/status").json()["payments"][0]["symbol"] == "USDT"


@as_the_app
def test_a_coin_listed_after_the_invoice_was_issued_stands_in_the_ledger(
    networks: Devnet, shop: Shop, listing: Listing
) -> None:
    usdc = asset("USDC")
    listing.without(usdc)
    invoice, option = issued(shop, "USDT")
    listing.with_asset(caip19=usdc, symbol="USDC", name="USD Coin", decimals=6)
    networks.evm.pay(address=option.address, value=5_000_000, token=networks.evm.usdc)
    mine(networks, 3)
    work()
    invoice.refresh_from_db()
    assert invoice.status == "new"
    held = Posting.objects.filter(asset=usdc).values_list("account__code", "quantity")
    assert dict(held) == {COINS_HELD.code: 5_000_000, UNIDENTIFIED.code: -5_000_000}
    assert OutboxEvent.objects.filter(payload__unpriced=1).exists()


@as_the_app
@pytest.mark.case("R55")
def test_one_absurd_transfer_stops_nobody(
    networks: Devnet, shop: Shop, listing: Listing, capsys: pytest.CaptureFixture[str]
) -> None:
    """On a real node: a listed token whose supply is the largest number, paid to one invoice."""
    largest = 2**256 - 1
    web3, made = networks.evm.web3(), artefact("TestUSDC")
    owner = web3.eth.accounts[4]
    factory = web3.eth.contract(abi=made.abi, bytecode=made.bytecode)
    sent = factory.constructor(largest).transact({"from": owner})
    contract = web3.eth.wait_for_transaction_receipt(sent)["contractAddress"]
    listing.with_asset(
        caip19=f"{anvil.CAIP2}/erc20:{contract}", symbol="USDT", name="Absurd", decimals=6
    )
    victim, option = issued(shop, "USDT")
    bystander, paid = issued(shop, "USDT")
    token = web3.eth.contract(contract, abi=made.abi)
    token.functions.transfer(option.address, largest).transact({"from": owner})
    for one in (option, paid):
        networks.resident.pay(uri_of(one, quantity=int(one.quantity)))
    mine(networks, 3)
    work()
    for invoice in (victim, bystander):
        invoice.refresh_from_db()
        assert invoice.status == "settled"
    row = QuarantinedTransfer.objects.get()
    assert row.reference == str(victim.pk)
    assert "DataError" in row.reason

    call_command("quarantine", "--retry")
    said = capsys.readouterr().out
    assert "0 applied" in said
    assert row.identity in said
    assert "1 in quarantine" in said
    assert QuarantinedTransfer.objects.get().attempts == 2


@as_the_app
def test_one_of_many_is_set_apart_and_the_invoice_is_told_of_once(
    networks: Devnet, shop: Shop
) -> None:
    story = Story(shop)
    option = story.option("USDT")
    for value in (1_000_000, 10**60, 2_000_000):
        plant(option, FINAL, value=value, seen_at=story.after(-1), times=3 if value < 10**9 else 1)
    told = OutboxEvent.objects.count()
    story.apply()
    assert QuarantinedTransfer.objects.count() == 1
    assert OutboxEvent.objects.count() == told + 1
    assert owed(UNSETTLED_RECEIPTS, shop) == 9 * 47_500
    assert TransferCursor.objects.get(network=anvil.CAIP2).revision == 7


@as_the_app
def test_what_was_set_apart_is_applied_again_by_command(
    networks: Devnet, shop: Shop, capsys: pytest.CaptureFixture[str]
) -> None:
    """An address that was given out for an invoice that is not there, until it is."""
    story = Story(shop)
    known = story.option()
    reference = uuid4()
    network = registry().networks[bitcoind.CAIP2]
    address = allocate_address(network=network, reference=str(reference)).text
    stray = type(known)(network=known.network, asset=known.asset, address=address)
    plant(stray, FINAL, value=10_000, seen_at=story.after(-1))
    plant(known, FINAL, value=10_000, seen_at=story.after(-1))
    story.apply()
    assert story.states == ["new", "settled"]
    assert QuarantinedTransfer.objects.get().reference == str(reference)

    Invoice.objects.create(
        pk=reference,
        shop=shop,
        amount_tiyn=1,
        expires_at=story.expires_at,
        confirm_by=story.after(10),
    )
    call_command("quarantine", "--retry")
    said = capsys.readouterr().out
    assert "1 applied" in said
    assert "0 in quarantine" in said
    assert InvoicePayment.objects.filter(invoice=reference, booked=True).exists()


@as_the_app
def test_what_would_fail_at_commit_fails_in_its_own_savepoint(
    networks: Devnet, shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A planted bug leaves one invoice's entry out of balance; the batch still commits."""
    sound, faulty = Story(shop), Story(shop)
    allocate = settling._allocate

    def unbalanced(invoice: Invoice, now: datetime) -> bool:
        is_settled = allocate(invoice, now)
        if invoice.pk == faulty.invoice.pk:
            last = Posting.objects.order_by("pk").last()
            Posting.objects.create(entry=last.entry, account=last.account, amount_tiyn=7)
        return is_settled

    monkeypatch.setattr(settling, "_allocate", unbalanced)
    for story in (sound, faulty):
        option = story.option()
        plant(option, FINAL, value=int(option.quantity), seen_at=story.after(-1))
    apply_transfers(network=bitcoind.CAIP2)
    with connection.cursor() as cursor:
        cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")
    sound.apply()
    faulty.apply()
    assert sound.states == ["new", "settled"]
    assert faulty.states == ["new"]
    assert "out of balance" in QuarantinedTransfer.objects.get().reason


@pytest.mark.case("R116")
def test_the_databases_own_trouble_is_nobodys_fault(
    committed: None, app_role: None, networks: Devnet, shop: Shop
) -> None:
    story = Story(shop)
    plant(story.option(), FINAL, value=10_000, seen_at=story.after(-1))
    with connection.cursor() as cursor:
        cursor.execute("SET lock_timeout = '100ms'")
    name = connection.settings_dict["NAME"]
    with psycopg.connect(os.environ["DATABASE_URL"], dbname=name) as other:
        other.execute("LOCK TABLE settlement_posting IN EXCLUSIVE MODE")
        with pytest.raises(OperationalError):
            apply_transfers(network=bitcoind.CAIP2)
        other.rollback()
    assert not QuarantinedTransfer.objects.exists()
    assert not InvoicePayment.objects.exists()
    story.apply()
    assert story.states == ["new", "settled"]


@as_the_app
@pytest.mark.parametrize("amount_tiyn", [0, -1, 10**14 + 1])
def test_an_amount_out_of_bounds_is_refused(amount_tiyn: int, networks: Devnet, shop: Shop) -> None:
    with pytest.raises(InvoiceError, match="amount"):
        issue_invoice(shop_id=shop.id, amount_tiyn=amount_tiyn)
    assert issue_invoice(shop_id=shop.id, amount_tiyn=10**14).amount_tiyn == 10**14


@as_the_app
@pytest.mark.parametrize("over_s", [-86_400, 1])
def test_a_time_out_of_bounds_is_refused(over_s: int, networks: Devnet, shop: Shop) -> None:
    expires_in = EXPIRES_IN_MAX + timedelta(seconds=over_s)
    with pytest.raises(InvoiceError, match="expire"):
        issue_invoice(shop_id=shop.id, amount_tiyn=1, expires_in=expires_in)


@as_the_app
def test_the_time_to_come_into_a_block_is_kept_with_the_invoice(
    networks: Devnet, shop: Shop, settings: Settings
) -> None:
    settings.CONFIRM_WITHIN_S = 60
    invoice = issue_invoice(shop_id=shop.id, amount_tiyn=1)
    settings.CONFIRM_WITHIN_S = 90
    invoice.refresh_from_db()
    assert invoice.confirm_by - invoice.expires_at == timedelta(seconds=60)
