"""Tokens that are listed, change or leave while the workers run."""

import pytest
from django.core.management import CommandError, call_command

from alatau_pay.devnet import anvil
from alatau_pay.devnet.nodes import Devnet
from alatau_pay.pipeline import read_network, scan_network
from chains.addresses import allocate_address
from chains.listing import HALTED_CHECKED_EVERY, halted_assets
from chains.models import AssetCursor, Cursor, Transfer
from chains.networks import RegistryError, registry
from chains.transfers import transfers_of
from merchants.invoices import InvoiceError, choose_option, issue_invoice
from merchants.models import Shop
from tests.chains.evm.deploying import deploy
from tests.chains.evm.listed import Content, change_registry, evm_entry, list_token

pytestmark = pytest.mark.django_db


def work() -> None:
    """What a worker does until nothing is left: its connections live on between two calls."""
    for _ in range(10):
        if read_network(anvil.CAIP2).caught_up:
            return
    raise AssertionError("the scan never ended")


def address(reference: str = "one") -> str:
    return allocate_address(network=registry().networks[anvil.CAIP2], reference=reference).text


def found(reference: str = "one") -> list[tuple[int, str]]:
    return [(one.value, one.state) for one in transfers_of(references=[reference])]


def test_a_token_listed_while_workers_run_is_found_before_and_after(networks: Devnet) -> None:
    token = deploy(networks.evm, "MutableToken", 10**12)
    work()
    for value in (1, 2):
        networks.evm.pay(address=address(), value=value, token=token.address)
        work()
    assert found() == []

    start = networks.evm.web3().eth.block_number
    caip19 = list_token(token.address, start_height=start)
    work()
    assert found() == [(2, "included")]

    networks.evm.pay(address=address(), value=3, token=token.address)
    networks.evm.mine(2)
    work()
    assert found() == [(2, "final"), (3, "final")]
    behind = set(AssetCursor.objects.values_list("height", flat=True))
    assert behind == {Cursor.objects.get(network=anvil.CAIP2).height}
    (late,) = Transfer.objects.filter(asset=caip19, value=2)
    assert late.first_seen_at <= late.block.time


def test_by_default_a_token_is_looked_for_from_the_networks_first_block(networks: Devnet) -> None:
    token = deploy(networks.evm, "MutableToken", 10**12)
    change_registry(lambda content: None)
    work()
    networks.evm.pay(address=address(), value=1, token=token.address)
    work()
    list_token(token.address)
    work()
    assert [value for value, _state in found()] == [1]


def test_a_token_is_found_below_the_first_block_that_was_scanned(networks: Devnet) -> None:
    """An operator lowers ``start_height`` and lists a token that was paid before."""
    token = deploy(networks.evm, "MutableToken", 10**12)
    networks.evm.pay(address=address(), value=4, token=token.address)
    paid = networks.evm.web3().eth.block_number
    networks.evm.mine(3)
    change_registry(lambda content: evm_entry(content).update(start_height=paid + 3))
    work()
    change_registry(lambda content: evm_entry(content).update(start_height=paid))
    list_token(token.address)
    work()
    assert [value for value, _state in found()] == [4]


def test_a_token_that_left_and_came_back_has_no_gap(networks: Devnet) -> None:
    token = deploy(networks.evm, "MutableToken", 10**12)
    work()
    caip19 = list_token(token.address)
    work()
    change_registry(
        lambda content: content.update(
            assets=[one for one in content["assets"] if one["caip19"] != caip19]
        )
    )
    networks.evm.pay(address=address(), value=8, token=token.address)
    work()
    assert found() == []
    list_token(token.address)
    work()
    assert [value for value, _state in found()] == [8]


def test_a_late_token_is_read_over_a_reorganisation(networks: Devnet) -> None:
    evm = networks.evm
    token = deploy(evm, "MutableToken", 10**12)
    work()
    to = address()
    snapshot = evm.rpc("evm_snapshot")
    evm.pay(address=to, value=5, token=token.address)
    work()
    list_token(token.address)
    work()
    assert found() == [(5, "included")]
    evm.rpc("evm_revert", snapshot)
    evm.rpc(
        "anvil_setNextBlockTimestamp", hex(evm.web3().eth.get_block("latest")["timestamp"] + 77)
    )
    evm.pay(address=to, value=6, token=token.address)
    evm.mine(2)
    work()
    assert (6, "final") in found()
    assert [value for value, state in found() if state in {"included", "final"}] == [6]


@pytest.mark.case("R54")
def test_a_token_whose_decimals_change_is_halted_and_loses_nothing(
    networks: Devnet, shop: Shop
) -> None:
    token = deploy(networks.evm, "MutableToken", 10**12)
    work()
    caip19 = list_token(token.address)
    change_registry(lambda content: content["assets"][-1].update(symbol="USDT"))
    work()
    invoice = issue_invoice(shop_id=shop.id, amount_tiyn=1_000)
    assert caip19 in {option.asset for option in invoice.options.all()}

    token.functions.set_decimals(18).transact()
    AssetCursor.objects.update(checked_at=None)  # a day has passed
    work()
    networks.evm.pay(address=address(), value=9, token=token.address)
    work()

    assert "18 decimals" in halted_assets()[caip19]
    assert found() == []
    with pytest.raises(InvoiceError, match="halted"):
        choose_option(invoice=invoice, asset=caip19)
    other = issue_invoice(shop_id=shop.id, amount_tiyn=1_000)
    assert caip19 not in {option.asset for option in other.options.all()}

    token.functions.set_decimals(6).transact()
    row = AssetCursor.objects.get(asset=caip19)
    AssetCursor.objects.update(checked_at=row.checked_at - HALTED_CHECKED_EVERY)
    networks.evm.mine(2)
    work()
    assert halted_assets() == {}
    assert found() == [(9, "final")]


@pytest.mark.case("R54")
@pytest.mark.parametrize("at", ["nobody", "factory"])
def test_what_says_no_decimals_is_no_token(at: str, networks: Devnet) -> None:
    work()
    nobody = "0x" + "77" * 20
    caip19 = list_token(networks.evm.factory if at == "factory" else nobody)
    work()
    assert "does not say" in halted_assets()[caip19]


@pytest.mark.case("R54")
def test_a_token_that_comes_back_with_other_decimals_is_halted_at_once(
    networks: Devnet,
) -> None:
    """What it says of itself was asked less than a day ago: the registry alone has changed."""
    token = deploy(networks.evm, "MutableToken", 10**12)
    work()
    caip19 = list_token(token.address)
    networks.evm.pay(address=address(), value=8, token=token.address)
    work()

    def rename(content: Content, **changes: object) -> None:
        entry = next(one for one in content["assets"] if one["caip19"] == caip19)
        entry.update(changes)

    change_registry(
        lambda content: content.update(
            assets=[one for one in content["assets"] if one["caip19"] != caip19]
        )
    )
    work()
    list_token(token.address, decimals=8)
    work()
    assert "read with 6 decimals" in halted_assets()[caip19]
    # Not even if the contract says so too: what is stored was counted otherwise.
    token.functions.set_decimals(8).transact()
    AssetCursor.objects.update(checked_at=None)
    work()
    assert "read with 6 decimals" in halted_assets()[caip19]

    token.functions.set_decimals(6).transact()
    change_registry(lambda content: rename(content, decimals=6))
    AssetCursor.objects.update(checked_at=None)
    work()
    assert halted_assets() == {}
    assert [value for value, _state in found()] == [8]


def test_a_scanned_networks_coin_keeps_its_name(networks: Devnet, shop: Shop) -> None:
    """Under another name every old payment would be found anew, in the place of the old one."""
    old, new = f"{anvil.CAIP2}/slip44:60", f"{anvil.CAIP2}/slip44:714"

    def rename(content: Content, was: str, name: str) -> None:
        next(one for one in content["assets"] if one["caip19"] == was)["caip19"] = name
        for one in evm_entry(content)["sweeping"]["minimums"]:
            one["asset"] = name if one["asset"] == was else one["asset"]

    work()
    networks.evm.pay(address=address(), value=5)
    networks.evm.mine(2)
    work()
    before = list(Transfer.objects.values_list())
    change_registry(lambda content: rename(content, old, new))
    with pytest.raises(RegistryError, match=f"Name it {old} again"):
        work()
    with pytest.raises(CommandError, match=f"Name it {old} again"):
        call_command("rescan", "--network", anvil.CAIP2, "--from", "1")
    scan_network(anvil.CAIP2)  # a worker logs it, and goes on with the others
    assert list(Transfer.objects.values_list()) == before
    invoice = issue_invoice(shop_id=shop.id, amount_tiyn=1_000)
    assert new not in {option.asset for option in invoice.options.all()}

    change_registry(lambda content: rename(content, new, old))
    networks.evm.pay(address=address(), value=6)
    work()
    assert [value for value, _state in found()] == [5, 6]
    assert set(Transfer.objects.values_list("asset", flat=True)) == {old}
