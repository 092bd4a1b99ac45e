"""Invoices paid on real nodes: each state, each edge, and the ledger beside it."""

import re
from datetime import timedelta
from pathlib import Path

import pytest
from django.db.models import F
from django.test import Client
from pytest_django.fixtures import Settings

from alatau_pay.devnet import anvil, bitcoind
from alatau_pay.devnet.nodes import Devnet
from alatau_pay.engines import REPOSITORY
from chains.networks import RegistryError, node_for, registry
from chains.scanning import scan_network
from chains.transfers import transfers_of
from merchants.expiring import expire_invoices
from merchants.invoices import (
    InvoiceError,
    choose_option,
    due_of,
    issue_invoice,
    uri_of,
)
from merchants.models import Invoice, OutboxEvent, PaymentOption, Shop
from merchants.settling import apply_transfers
from merchants.states import EDGES
from settlement.accounts import MERCHANT_PAYABLE, OVERPAYMENTS
from settlement.ledger import balance_of, trial_balance

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("app_role")]


def asset(symbol: str) -> str:
    return next(one.caip19 for one in registry().assets.values() if one.symbol == symbol)


def work() -> None:
    """Do what the workers do when poked."""
    for network in registry().networks.values():
        scan_network(network=network, node=node_for(network))
        apply_transfers(network=network.caip2)


def issued(shop: Shop, symbol: str, *, amount_tiyn: int = 450_000) -> tuple[Invoice, PaymentOption]:
    work()
    invoice = issue_invoice(shop_id=shop.id, amount_tiyn=amount_tiyn)
    return invoice, choose_option(invoice=invoice, asset=asset(symbol))


def mine(devnet: Devnet, blocks: int) -> None:
    devnet.bitcoin.mine(blocks)
    devnet.evm.mine(blocks)


@pytest.mark.parametrize("symbol", ["BTC", "ETH", "USDT", "USDC"])
def test_a_payment_settles_once_in_every_coin(symbol: str, networks: Devnet, shop: Shop) -> None:
    invoice, option = issued(shop, symbol)
    networks.resident.pay(uri_of(option, quantity=int(option.quantity)))
    work()
    invoice.refresh_from_db()
    assert invoice.status == "processing"

    for _ in range(3):
        mine(networks, 1)
        work()
        work()

    invoice.refresh_from_db()
    assert invoice.status == "settled"
    assert balance_of(MERCHANT_PAYABLE, beneficiary=str(shop.id)) == -450_000
    assert trial_balance().difference_tiyn == 0
    kinds = list(OutboxEvent.objects.values_list("type", flat=True))
    assert kinds.count("invoice.settled") == 1
    assert kinds.count("invoice.processing") == 1


@pytest.mark.case("R28")
@pytest.mark.case("R27")
def test_parts_in_two_coins_settle_together(networks: Devnet, shop: Shop, client: Client) -> None:
    invoice, bitcoin = issued(shop, "BTC")
    usdt = choose_option(invoice=invoice, asset=asset("USDT"))
    networks.bitcoin.pay(address=bitcoin.address, value_sat=int(bitcoin.quantity) // 2)
    mine(networks, 3)
    work()
    invoice.refresh_from_db()
    assert invoice.status == "processing"
    rest = due_of(invoice).quantities[usdt.asset]
    assert 0 <= rest - int(usdt.quantity) // 2 <= 1
    page = client.get(f"/i/{invoice.token}?asset={usdt.asset}", headers={"accept-language": "en"})
    assert "A part has arrived" in page.content.decode()
    assert usdt.address in page.content.decode()

    token = registry().assets[usdt.asset].contract
    networks.evm.pay(address=usdt.address, value=rest, token=token)
    mine(networks, 3)
    work()
    invoice.refresh_from_db()
    assert invoice.status == "settled"
    assert balance_of(MERCHANT_PAYABLE, beneficiary=str(shop.id)) == -450_000


@pytest.mark.case("R23")
def test_an_extra_payment_is_kept_apart(networks: Devnet, shop: Shop) -> None:
    invoice, option = issued(shop, "BTC")
    for _ in range(2):
        networks.resident.pay(uri_of(option, quantity=int(option.quantity)))
    mine(networks, 2)
    work()
    invoice.refresh_from_db()
    assert invoice.status == "settled"
    assert balance_of(MERCHANT_PAYABLE, beneficiary=str(shop.id)) == -450_000
    assert balance_of(OVERPAYMENTS, beneficiary=str(shop.id)) == -450_000


@pytest.mark.case("R1")
@pytest.mark.case("R2")
def test_a_reorg_that_keeps_the_payment_reverses_nothing(networks: Devnet, shop: Shop) -> None:
    invoice, option = issued(shop, "BTC")
    networks.resident.pay(uri_of(option, quantity=int(option.quantity)))
    first, _second = networks.bitcoin.mine(2)
    work()
    networks.bitcoin.call("invalidateblock", first)
    work()
    assert transfers_of(references=[str(invoice.pk)])[0].confirmations == 0
    networks.bitcoin.mine(3)
    work()
    invoice.refresh_from_db()
    assert invoice.status == "settled"
    assert balance_of(MERCHANT_PAYABLE, beneficiary=str(shop.id)) == -450_000
    kinds = list(OutboxEvent.objects.values_list("type", flat=True))
    assert kinds.count("invoice.settled") == 1
    assert "invoice.reversed" not in kinds


@pytest.mark.case("R5")
def test_a_payment_that_another_replaced_after_finality_is_reversed(
    networks: Devnet, shop: Shop
) -> None:
    invoice, option = issued(shop, "BTC")
    txid = networks.resident.pay(uri_of(option, quantity=int(option.quantity)))
    first, _second = networks.bitcoin.mine(2)
    work()
    networks.bitcoin.call("invalidateblock", first)
    replacement = networks.bitcoin.take_back(txid)
    networks.bitcoin.mine(3)
    work()
    invoice.refresh_from_db()
    assert invoice.status == "reversed"
    assert balance_of(MERCHANT_PAYABLE, beneficiary=str(shop.id)) == 0
    (gone,) = transfers_of(references=[str(invoice.pk)])
    assert (gone.state, gone.replaced_by) == ("replaced", replacement)

    networks.resident.pay(uri_of(option, quantity=int(option.quantity)))
    networks.bitcoin.mine(3)
    work()
    invoice.refresh_from_db()
    assert invoice.status == "settled"
    assert balance_of(MERCHANT_PAYABLE, beneficiary=str(shop.id)) == -450_000
    assert trial_balance().difference_tiyn == 0


@pytest.mark.case("R24")
def test_expiry_and_a_late_payment(networks: Devnet, shop: Shop) -> None:
    invoice, option = issued(shop, "USDT")
    assert expire_invoices() == 0
    Invoice.objects.update(expires_at=F("created_at") - timedelta(seconds=1))
    assert expire_invoices() == 1
    assert expire_invoices() == 0

    networks.resident.pay(uri_of(option, quantity=int(option.quantity)))
    mine(networks, 3)
    work()
    invoice.refresh_from_db()
    assert invoice.status == "expired"
    assert balance_of(MERCHANT_PAYABLE, beneficiary=str(shop.id)) == 0
    assert balance_of(OVERPAYMENTS, beneficiary=str(shop.id)) == -450_000
    with pytest.raises(InvoiceError):
        choose_option(invoice=invoice, asset=asset("BTC"))


@pytest.mark.case("R25")
def test_a_payment_that_was_seen_in_time_does_not_expire(networks: Devnet, shop: Shop) -> None:
    invoice, option = issued(shop, "BTC")
    networks.resident.pay(uri_of(option, quantity=int(option.quantity)))
    work()
    Invoice.objects.update(expires_at=F("created_at") - timedelta(seconds=1))
    assert expire_invoices() == 0
    invoice.refresh_from_db()
    assert invoice.status == "processing"


def test_a_shop_that_is_not_approved_issues_nothing(networks: Devnet, shop: Shop) -> None:
    Shop.objects.update(status=Shop.Status.SUSPENDED)
    with pytest.raises(InvoiceError, match="not approved"):
        issue_invoice(shop_id=shop.id, amount_tiyn=1)


def test_the_drawing_of_the_states_is_true() -> None:
    section = (REPOSITORY / "docs/architecture.md").read_text().split("## Invoice states")[1]
    rows = re.findall(r"^\| (\w+) \| (.+) \|$", section, re.MULTILINE)[1:]
    drawn = {
        state: set(re.sub(r"\([^)]*\)", "", edges).replace(" ", "").split(","))
        for state, edges in rows
    }
    assert drawn == {state: set(edges) for state, edges in EDGES.items()}
    assert set(EDGES) == set(Invoice.Status)


@pytest.mark.case("R109")
def test_the_page_shows_the_demand_and_nothing_of_the_merchant(
    networks: Devnet, shop: Shop, client: Client
) -> None:
    invoice, option = issued(shop, "USDT")
    page = client.get(f"/i/{invoice.token}?asset={option.asset}").content.decode()
    assert option.address in page
    assert "9.473685" in page
    for private in (shop.merchant.bin_or_iin, shop.merchant.iban, str(shop.id), "tpub"):
        assert private not in page
    assert client.get("/i/unknown").status_code == 404
    assert client.get(f"/i/{invoice.token}/choose").status_code == 405


def test_the_test_wallet_exists_on_a_devnet_alone(
    networks: Devnet, shop: Shop, client: Client, settings: Settings
) -> None:
    invoice, option = issued(shop, "USDT")
    url = f"/i/{invoice.token}/test-pay"
    assert client.post(url, {"asset": option.asset}).status_code == 404

    settings.DEVNET_WALLET_URL = "http://127.0.0.1:9/x"
    assert "/test-pay" in client.get(f"/i/{invoice.token}?asset={option.asset}").content.decode()
    settings.DEVNET = False
    assert client.post(url, {"asset": option.asset}).status_code == 404

    settings.DEVNET = True
    registry_file = Path(settings.NETWORKS_FILE)
    real = registry_file.read_text().replace("eip155:31337", "eip155:1")
    registry_file.write_text(real)
    with pytest.raises(RegistryError, match="is_devnet is wrong"):
        registry()
    registry_file.write_text(real.replace('"is_devnet": true}]', '"is_devnet": false}]'))
    with pytest.raises(RegistryError, match="DEVNET is on"):
        registry()


@pytest.mark.parametrize("language", ["kk", "ru", "en"])
def test_the_page_speaks_three_languages(
    language: str, networks: Devnet, shop: Shop, client: Client
) -> None:
    invoice, _option = issued(shop, "BTC")
    page = client.get(f"/i/{invoice.token}", headers={"accept-language": language}).content.decode()
    said = {
        "kk": "Төлем тәсілін таңдаңыз",
        "ru": "Выберите способ оплаты",
        "en": "Choose how to pay",
    }
    assert f'<html lang="{language}">' in page
    assert said[language] in page
    assert bitcoind.CAIP2 in page
    assert anvil.CAIP2 in page
