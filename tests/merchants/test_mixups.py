"""Payments and addresses that are taken for others: by a payer's eye, by a number, by a shop."""

import re
from math import ceil

import pytest
from django.db import IntegrityError
from django.test import Client
from web3 import Web3

from alatau_pay.devnet import anvil
from alatau_pay.devnet.contracts import artefact
from alatau_pay.devnet.nodes import Devnet
from chains.addresses import allocate_address
from chains.models import Address
from chains.networks import RegistryError, registry
from merchants.invoices import choose_option, due_of, uri_of
from merchants.models import Invoice, InvoicePayment, PaymentOption, Shop
from tests.chains.evm.listed import Content, change_registry, evm_entry
from tests.merchants.test_invoices import asset, issued, mine, work

pytestmark = pytest.mark.django_db


def page_of(invoice: Invoice, option: PaymentOption) -> str:
    answer = Client().get(
        f"/i/{invoice.token}?asset={option.asset}", headers={"accept-language": "en"}
    )
    assert answer.status_code == 200
    return answer.content.decode()


def lookalike(address: str) -> str:
    """What a poisoner makes: as many first and last digits as a wallet shows."""
    middle = "".join("0" if digit != "0" else "1" for digit in address[8:-6])
    return Web3.to_checksum_address(address[:8] + middle + address[-6:])


def poison(networks: Devnet, victim: str) -> str:
    """Have a lookalike of an address send it nothing of a real token; returns the lookalike."""
    evm, web3 = networks.evm, networks.evm.web3()
    fake = lookalike(victim)
    evm.rpc("anvil_setBalance", fake, hex(10**18))
    evm.rpc("anvil_impersonateAccount", fake)
    usdt = web3.eth.contract(Web3.to_checksum_address(evm.usdt), abi=artefact("TestUSDT").abi)
    sent = usdt.functions.transfer(victim, 0).transact({"from": fake})
    assert web3.eth.wait_for_transaction_receipt(sent)["status"] == 1
    return fake


@pytest.mark.case("R49")
@pytest.mark.case("R50")
def test_a_lookalike_is_never_shown_and_an_address_is_shown_whole(
    networks: Devnet, shop: Shop
) -> None:
    invoice, option = issued(shop, "USDT")
    before = page_of(invoice, option)
    fake = poison(networks, option.address)
    mine(networks, 3)
    work()
    page = page_of(invoice, option)
    assert fake.lower() not in page.lower()
    assert before.partition("<main")[2].count(option.address) == page.count(option.address) > 0
    assert re.search(rf'<span id="address" class="address">{option.address}</span>', page)
    # Wherever a part of it stands, the whole of it does.
    assert page.count(option.address[:8]) == page.count(option.address)
    assert page.count(option.address[-6:]) == page.count(option.address)
    assert not InvoicePayment.objects.exists()

    # What was paid is named by the whole hash of its transaction, on the receipt too.
    networks.resident.pay(uri_of(option, quantity=int(option.quantity)))
    mine(networks, 3)
    work()
    receipt = page_of(invoice, option)
    (payment,) = InvoicePayment.objects.all()
    assert f'<span class="txid">0x{payment.txid}</span>' in receipt
    assert fake.lower() not in receipt.lower()
    assert receipt.count(option.address[:8]) == receipt.count(option.address)


@pytest.mark.case("R64")
def test_invoices_of_the_same_amount_never_share_an_address(networks: Devnet, shop: Shop) -> None:
    one, first = issued(shop, "USDT")
    other, second = issued(shop, "USDT")
    assert first.quantity == second.quantity
    assert first.address != second.address
    networks.resident.pay(uri_of(second, quantity=int(second.quantity)))
    mine(networks, 3)
    work()
    for invoice in (one, other):
        invoice.refresh_from_db()
    assert (one.status, other.status) == ("new", "settled")


@pytest.mark.case("R64")
@pytest.mark.parametrize("symbol", ["BTC", "USDT"])
def test_the_database_holds_an_address_for_one_invoice_alone(
    symbol: str, networks: Devnet, shop: Shop
) -> None:
    _invoice, option = issued(shop, symbol)
    row = Address.objects.get(text=option.address)
    row.pk, row.reference = None, "another"
    row.index = None if row.index is None else row.index + 1
    with pytest.raises(IntegrityError, match="address_unique"):
        row.save(force_insert=True)


@pytest.mark.case("R64")
def test_no_setting_makes_invoices_share_an_address(networks: Devnet) -> None:
    def share(content: Content) -> None:
        evm_entry(content)["shared_address"] = networks.evm.treasury

    change_registry(share)
    with pytest.raises(RegistryError, match="no setting 'shared_address'"):
        registry()


@pytest.mark.case("R64")
def test_an_address_is_never_the_treasury(networks: Devnet) -> None:
    network = registry().networks[anvil.CAIP2]
    for number in range(20):
        to = allocate_address(network=network, reference=str(number)).text
        assert to != network.treasury
    assert Address.objects.values("text").distinct().count() == 20


@pytest.mark.case("R65")
def test_ether_of_the_same_number_pays_no_invoice_in_a_stablecoin(
    networks: Devnet, shop: Shop
) -> None:
    invoice, usdt = issued(shop, "USDT")
    networks.evm.pay(address=usdt.address, value=int(usdt.quantity))
    mine(networks, 3)
    work()
    invoice.refresh_from_db()
    assert invoice.status != "settled"
    assert ceil(due_of(invoice).left_tiyn) == invoice.amount_tiyn
    (payment,) = InvoicePayment.objects.all()
    assert (payment.asset, payment.quantity) == (asset("ETH"), usdt.quantity)


@pytest.mark.case("R65")
def test_a_stablecoin_of_the_same_number_pays_no_invoice_in_ether(
    networks: Devnet, shop: Shop
) -> None:
    """0.003 of a coin worth 475 tenge, where 0.003 ether were asked for."""
    invoice, _usdt = issued(shop, "USDT")
    ether = choose_option(invoice=invoice, asset=asset("ETH"))
    same = int(ether.quantity) // 10**12
    assert same > 0
    networks.evm.pay(address=ether.address, value=same, token=networks.evm.usdt)
    mine(networks, 3)
    work()
    invoice.refresh_from_db()
    assert invoice.status != "settled"
    (payment,) = InvoicePayment.objects.all()
    assert (payment.asset, int(payment.quantity)) == (asset("USDT"), same)
