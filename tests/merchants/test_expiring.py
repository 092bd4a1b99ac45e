"""Expiry: never before everything that could have paid the invoice in time is known."""

import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from django.db import connection, transaction

from alatau_pay.devnet import bitcoind
from alatau_pay.devnet.nodes import Devnet
from chains.models import Cursor, Transfer, TransferState
from chains.networks import node_for, registry
from chains.scanning import scan_network
from merchants import expiring
from merchants.expiring import expire_invoices
from merchants.invoices import InvoiceError, choose_option, takes_payments, uri_of
from merchants.models import Invoice, InvoicePayment, OutboxEvent, Shop
from merchants.settling import apply_transfers
from settlement.accounts import MERCHANT_PAYABLE, OVERPAYMENTS, UNSETTLED_RECEIPTS
from settlement.clock import database_now
from settlement.ledger import balance_of
from tests.conftest import Listing, become_the_app
from tests.merchants.planted import Story, asset, flip, plant, read_on
from tests.merchants.test_invoices import issued, mine, work
from tests.waiting import wait_until

pytestmark = [pytest.mark.django_db]
SEEN, INCLUDED, FINAL = TransferState.SEEN, TransferState.INCLUDED, TransferState.FINAL


def end_confirming(invoice: Invoice) -> None:
    """Let its time end a moment ago, and the time to come into a block now."""
    now = database_now()
    Invoice.objects.filter(pk=invoice.pk).update(
        expires_at=now - timedelta(milliseconds=1), confirm_by=now
    )


@pytest.mark.case("R24")
@pytest.mark.usefixtures("app_role")
def test_a_fee_too_low_for_any_miner_does_not_hold_the_rate_open(
    networks: Devnet, shop: Shop
) -> None:
    invoice, option = issued(shop, "BTC")
    networks.resident.pay(uri_of(option, quantity=int(option.quantity)))
    work()
    end_confirming(invoice)
    assert expire_invoices() == 0, "the network was not read past that moment yet"
    work()
    assert expire_invoices() == 1

    # A block's time is in whole seconds, rounded down.
    late = database_now() + timedelta(seconds=1)
    wait_until(lambda: database_now() > late)
    mine(networks, 3)
    work()
    invoice.refresh_from_db()
    assert invoice.status == "expired"
    assert balance_of(MERCHANT_PAYABLE, beneficiary=str(shop.id)) == 0
    assert balance_of(OVERPAYMENTS, beneficiary=str(shop.id)) == -450_000


@pytest.mark.case("R15")
@pytest.mark.case("R24")
@pytest.mark.usefixtures("app_role")
def test_a_payment_that_waits_is_given_up_only_once_its_blocks_were_read(
    networks: Devnet, shop: Shop
) -> None:
    story = Story(shop)
    story.pay(SEEN)
    story.end_time()
    assert story.expire() == 0
    Invoice.objects.update(confirm_by=database_now())
    assert story.expire() == 0, "it may stand in a block that nobody has read yet"
    read_on()
    assert story.expire() == 1


@pytest.mark.case("R15")
@pytest.mark.usefixtures("app_role")
def test_a_payment_made_in_time_while_nobody_scanned_settles(networks: Devnet, shop: Shop) -> None:
    invoice, option = issued(shop, "USDT")
    networks.resident.pay(uri_of(option, quantity=int(option.quantity)))
    last_look = Cursor.objects.get(network=option.network).caught_up_at
    mined = networks.evm.web3().eth.get_block("latest")["timestamp"]
    mined_at = datetime.fromtimestamp(mined, tz=UTC)
    # A chain whose clock other tests pushed ahead of ours leaves the invoice some time yet.
    Invoice.objects.update(expires_at=max(last_look, mined_at))
    wait_until(lambda: database_now() > last_look)
    assert expire_invoices() == 0
    mine(networks, 3)
    work()
    invoice.refresh_from_db()
    assert invoice.status == "settled"


@pytest.mark.case("R7")
@pytest.mark.usefixtures("app_role")
def test_a_fee_raised_after_the_end_makes_no_payer_late(networks: Devnet, shop: Shop) -> None:
    invoice, option = issued(shop, "BTC")
    txid = networks.resident.pay(uri_of(option, quantity=int(option.quantity)))
    work()
    Invoice.objects.update(expires_at=database_now())
    networks.bitcoin.call("bumpfee", txid, wallet="resident")
    work()
    assert expire_invoices() == 0
    mine(networks, 3)
    work()
    invoice.refresh_from_db()
    assert invoice.status == "settled"
    assert InvoicePayment.objects.filter(state="replaced").count() == 1


@pytest.mark.case("R24")
@pytest.mark.parametrize(
    ("seen_s", "mined_s", "state"),
    [
        (0, 0, "settled"),
        (0, 86_400, "settled"),
        (0, 86_401, "expired"),
        (1, 1, "expired"),
    ],
)
@pytest.mark.usefixtures("app_role")
def test_in_time_is_seen_before_the_end_and_mined_soon_after(
    seen_s: int, mined_s: int, state: str, networks: Devnet, shop: Shop
) -> None:
    story = Story(shop)
    story.option()
    story.end_time()
    story.expire()
    story.pay(FINAL, seen_s=seen_s, mined_s=mined_s)
    assert story.states[-1] == state


@pytest.mark.case("R3")
@pytest.mark.usefixtures("app_role")
def test_what_was_booked_in_time_stays_so_wherever_it_is_mined_again(
    networks: Devnet, shop: Shop
) -> None:
    story = Story(shop)
    paid = story.pay(FINAL)
    story.turn(paid, SEEN)
    for state in (INCLUDED, FINAL):
        flip(paid, state, mined_at=story.after(90_000))
        story.apply()
    story.pay(FINAL, percent=10)
    assert story.states == ["new", "settled"]
    assert balance_of(MERCHANT_PAYABLE, beneficiary=str(shop.id)) == -450_000


@pytest.mark.case("R15")
@pytest.mark.usefixtures("app_role")
def test_nothing_expires_before_its_networks_were_read_past_its_end(
    networks: Devnet, shop: Shop
) -> None:
    story = Story(shop)
    story.option()
    story.end_time()
    for blind_until in (None, story.after(-60), story.after(0)):
        Cursor.objects.filter(network=bitcoind.CAIP2).update(caught_up_at=blind_until)
        assert story.expire() == 0
    Cursor.objects.filter(network=bitcoind.CAIP2).update(caught_up_at=database_now())
    assert story.expire() == 1


@pytest.mark.usefixtures("app_role")
def test_a_network_that_left_the_registry_keeps_nothing_open(
    networks: Devnet, shop: Shop, listing: Listing
) -> None:
    story = Story(shop)
    story.option()
    story.end_time()
    Cursor.objects.filter(network=bitcoind.CAIP2).update(caught_up_at=None)
    listing.without(bitcoind.CAIP2)
    assert story.expire() == 1


@pytest.mark.case("R25")
@pytest.mark.usefixtures("app_role")
@pytest.mark.parametrize("knows", [True, False], ids=["as it is", "negative twin"])
def test_what_was_found_in_time_but_not_applied_keeps_the_invoice_open(
    knows: bool, networks: Devnet, shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without the look at what was found, the negative twin expires an invoice that is paid."""
    if not knows:
        forever = datetime.max.replace(tzinfo=UTC)
        monkeypatch.setattr(
            expiring, "_known_until", lambda: dict.fromkeys(registry().networks, forever)
        )
    invoice, option = issued(shop, "BTC")
    networks.resident.pay(uri_of(option, quantity=int(option.quantity)))
    network = registry().networks[bitcoind.CAIP2]
    scan_network(network=network, node=node_for(network))
    Invoice.objects.update(expires_at=database_now())
    scan_network(network=network, node=node_for(network))

    assert expire_invoices() == (0 if knows else 1)
    apply_transfers(network=bitcoind.CAIP2)
    invoice.refresh_from_db()
    assert invoice.status == "processing"
    told = list(OutboxEvent.objects.values_list("type", flat=True))
    assert told.count("invoice.expired") == (0 if knows else 1)


def in_a_thread(job: Callable[[], object]) -> threading.Thread:
    def run() -> None:
        try:
            become_the_app()
            job()
        finally:
            connection.close()

    thread = threading.Thread(target=run)
    thread.start()
    return thread


def waits_for(table: str) -> Callable[[], bool]:
    def waits() -> bool:
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT 1 FROM pg_locks WHERE NOT granted AND relation = %s::regclass", [table]
            )
            return cursor.fetchone() is not None

    return waits


def waits_for_a_row() -> bool:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT 1 FROM pg_locks WHERE NOT granted AND locktype IN ('transactionid', 'tuple')"
        )
        return cursor.fetchone() is not None


@pytest.mark.case("R25")
def test_expiry_while_the_payment_is_being_applied(
    committed: None, networks: Devnet, shop: Shop
) -> None:
    """The applying worker stands still with the invoice locked; expiry passes it by."""
    story = Story(shop)
    option = story.option()
    story.end_time()
    plant(option, FINAL, value=int(option.quantity), seen_at=story.after(-1))
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("LOCK TABLE merchants_outboxevent IN EXCLUSIVE MODE")
        worker = in_a_thread(lambda: apply_transfers(network=bitcoind.CAIP2))
        wait_until(waits_for("merchants_outboxevent"))
        assert expire_invoices() == 0
    worker.join()
    assert story.expire() == 0
    assert story.states == ["new", "settled"]


@pytest.mark.case("R25")
def test_a_payment_found_while_the_invoice_expires(
    committed: None, networks: Devnet, shop: Shop
) -> None:
    """Expiry stands still with the invoice locked; the payment waits, and then has its effect."""
    story = Story(shop)
    option = story.option()
    story.end_time()
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("LOCK TABLE merchants_outboxevent IN EXCLUSIVE MODE")
        expiry = in_a_thread(expire_invoices)
        wait_until(waits_for("merchants_outboxevent"))
        found = in_a_thread(
            lambda: (
                plant(option, FINAL, value=int(option.quantity), seen_at=story.after(-1)),
                apply_transfers(network=bitcoind.CAIP2),
            )
        )
        wait_until(waits_for_a_row)
    expiry.join()
    found.join()
    told = OutboxEvent.objects.order_by("created_at").values_list("type", flat=True)
    assert list(told) == ["invoice.created", "invoice.expired", "invoice.settled"]
    assert balance_of(MERCHANT_PAYABLE, beneficiary=str(shop.id)) == -450_000


@pytest.mark.usefixtures("app_role")
def test_those_that_may_not_expire_keep_no_others_waiting(networks: Devnet, shop: Shop) -> None:
    blind = [Story(shop) for _ in range(3)]
    paid, late = Story(shop), Story(shop)
    for story in blind:
        story.option()
    paid.pay(SEEN, symbol="USDT")
    for story in (*blind, paid, late):
        story.end_time()
    Cursor.objects.filter(network=bitcoind.CAIP2).update(caught_up_at=None)
    assert expire_invoices(limit=1) == 1
    late.expire()
    assert late.states == ["new", "expired"]


@pytest.mark.usefixtures("app_role")
def test_a_part_of_an_invoice_that_expires_is_never_the_shops(networks: Devnet, shop: Shop) -> None:
    story = Story(shop)
    story.pay(FINAL, symbol="USDT", percent=50)
    story.end_time()
    assert story.expire() == 1
    rest = story.pay(FINAL, symbol="USDT", percent=50, seen_s=1, mined_s=1)
    owner = str(shop.id)
    assert story.states == ["new", "processing", "expired"]
    assert balance_of(MERCHANT_PAYABLE, beneficiary=owner) == 0
    assert balance_of(UNSETTLED_RECEIPTS, beneficiary=owner) < -224_000
    assert balance_of(OVERPAYMENTS, beneficiary=owner) < -224_000
    assert Transfer.objects.get(pk=rest.pk).state == FINAL


@pytest.mark.usefixtures("app_role")
def test_nobody_is_asked_for_money_after_the_end(networks: Devnet, shop: Shop) -> None:
    story = Story(shop)
    story.option("USDT")
    assert takes_payments(story.invoice)
    story.end_time()
    story.invoice.refresh_from_db()
    assert story.invoice.status == "new"
    assert not takes_payments(story.invoice)
    for symbol in ("USDT", "BTC"):
        with pytest.raises(InvoiceError, match="no more"):
            choose_option(invoice=story.invoice, asset=asset(symbol))
