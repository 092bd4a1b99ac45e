"""Scanning real nodes: each payment once, whatever order things come in."""

import json
from pathlib import Path

import pytest
from pytest_django.fixtures import DjangoAssertNumQueries, Settings

from alatau_pay.devnet import anvil, bitcoind
from alatau_pay.devnet.contracts import SOURCES, artefact, compiled
from alatau_pay.devnet.nodes import Devnet
from chains.addresses import allocate_address
from chains.models import Block, Transfer, TransferState
from chains.networks import RegistryError, node_for, registry
from chains.nodes import NodeUnavailableError, WrongChainError
from chains.scanning import ScanReport, scan_network
from chains.transfers import changes_since, inclusions_of, transfers_of, transfers_to

pytestmark = pytest.mark.django_db


def scan(caip2: str) -> ScanReport:
    network = registry().networks[caip2]
    return scan_network(network=network, node=node_for(network))


def address(caip2: str, reference: str = "one") -> str:
    return allocate_address(network=registry().networks[caip2], reference=reference).text


def test_a_bitcoin_payment_is_seen_included_and_final(networks: Devnet) -> None:
    scan(bitcoind.CAIP2)
    networks.bitcoin.pay(address=address(bitcoind.CAIP2), value_sat=12_345)

    scan(bitcoind.CAIP2)
    (seen,) = transfers_of(references=["one"])
    assert (seen.state, seen.value, seen.confirmations) == (TransferState.SEEN, 12_345, 0)

    networks.bitcoin.mine(1)
    scan(bitcoind.CAIP2)
    assert transfers_of(references=["one"])[0].state is TransferState.INCLUDED

    networks.bitcoin.mine(1)
    scan(bitcoind.CAIP2)
    (final,) = transfers_of(references=["one"])
    assert (final.state, final.confirmations) == (TransferState.FINAL, 2)
    assert [one.state for one in changes_since(network=bitcoind.CAIP2, revision=seen.revision)] == [
        TransferState.FINAL
    ]


@pytest.mark.case("R3")
@pytest.mark.case("R1")
def test_a_bitcoin_reorg_before_finality_counts_once(networks: Devnet) -> None:
    scan(bitcoind.CAIP2)
    networks.bitcoin.pay(address=address(bitcoind.CAIP2), value_sat=50_000)
    (orphan,) = networks.bitcoin.mine(1)
    scan(bitcoind.CAIP2)

    networks.bitcoin.call("invalidateblock", orphan)
    scan(bitcoind.CAIP2)
    (back,) = transfers_of(references=["one"])
    assert (back.state, back.confirmations) == (TransferState.SEEN, 0)

    networks.bitcoin.mine(2)
    report = scan(bitcoind.CAIP2)

    assert report.applied == 2
    assert Block.objects.get(hash=orphan).canonical is False
    (paid,) = transfers_to(network=bitcoind.CAIP2, address=address(bitcoind.CAIP2))
    assert paid.state is TransferState.FINAL
    was, now = inclusions_of(paid)
    assert (was.block_hash, was.canonical, now.canonical) == (orphan, False, True)
    assert now.height == was.height


@pytest.mark.case("R12")
def test_an_evm_reorg_drops_what_is_not_mined_again(networks: Devnet) -> None:
    scan(anvil.CAIP2)
    to = address(anvil.CAIP2)
    snapshot = networks.evm.rpc("evm_snapshot")
    networks.evm.pay(address=to, value=7_000_000, token=networks.evm.usdt)
    scan(anvil.CAIP2)
    orphan = Transfer.objects.get(state=TransferState.INCLUDED)

    networks.evm.rpc("evm_revert", snapshot)
    later = networks.evm.web3().eth.get_block("latest")["timestamp"] + 9
    networks.evm.rpc("anvil_setNextBlockTimestamp", hex(later))
    networks.evm.mine(1)
    report = scan(anvil.CAIP2)
    assert report.rewound == 1
    assert Transfer.objects.get(pk=orphan.pk).state == TransferState.DROPPED

    networks.evm.pay(address=to, value=7_000_000, token=networks.evm.usdt)
    networks.evm.mine(3)
    scan(anvil.CAIP2)
    counted = [one.value for one in transfers_of(references=["one"]) if one.state == "final"]
    assert counted == [7_000_000]


@pytest.mark.case("R66")
def test_scanning_twice_stores_once(networks: Devnet) -> None:
    scan(anvil.CAIP2)
    networks.evm.pay(address=address(anvil.CAIP2), value=5, token=networks.evm.usdc)
    networks.evm.pay(address=address(anvil.CAIP2), value=9)
    scan(anvil.CAIP2)
    before = list(Transfer.objects.values_list("txid", "position", "value", "revision"))

    assert scan(anvil.CAIP2).changed is False

    assert list(Transfer.objects.values_list("txid", "position", "value", "revision")) == before
    assert sorted(one.position for one in transfers_of(references=["one"])) == ["call:", "log:0"]


@pytest.mark.case("R49")
@pytest.mark.case("R45")
def test_an_unlisted_token_and_a_zero_value_do_not_count(networks: Devnet) -> None:
    scan(anvil.CAIP2)
    web3 = networks.evm.web3()
    made = artefact("TestUSDC")
    fake = web3.eth.contract(abi=made.abi, bytecode=made.bytecode)
    sent = fake.constructor(10**9).transact({"from": web3.eth.accounts[4]})
    contract = web3.eth.wait_for_transaction_receipt(sent)["contractAddress"]
    token = web3.eth.contract(contract, abi=made.abi)
    token.functions.transfer(address(anvil.CAIP2), 10**9).transact({"from": web3.eth.accounts[4]})
    networks.evm.pay(address=address(anvil.CAIP2), value=0, token=networks.evm.usdt)

    scan(anvil.CAIP2)

    assert not Transfer.objects.exists()


@pytest.mark.case("R22")
@pytest.mark.case("R26")
def test_a_flood_of_outputs_costs_a_handful_of_queries(
    networks: Devnet, django_assert_max_num_queries: DjangoAssertNumQueries
) -> None:
    scan(bitcoind.CAIP2)
    payees = {address(bitcoind.CAIP2, f"n{number}"): "0.00001" for number in range(300)}
    networks.bitcoin.call("sendmany", "", payees, wallet="resident")
    with django_assert_max_num_queries(60):
        scan(bitcoind.CAIP2)
    networks.bitcoin.mine(2)
    with django_assert_max_num_queries(120):
        scan(bitcoind.CAIP2)
    paid = transfers_of(references=[f"n{number}" for number in range(300)])
    assert [(one.value, one.state) for one in paid] == [(1_000, "final")] * 300


@pytest.mark.case("R32")
def test_an_address_is_kept_for_its_reference_and_given_to_no_other(networks: Devnet) -> None:
    for caip2 in (bitcoind.CAIP2, anvil.CAIP2):
        first = address(caip2, "one")
        assert address(caip2, "one") == first
        assert address(caip2, "two") != first


def test_the_factory_agrees_and_sweeps_only_to_the_treasury(networks: Devnet) -> None:
    evm = networks.evm
    to = address(anvil.CAIP2, "swept")
    web3 = evm.web3()
    factory = web3.eth.contract(evm.factory, abi=artefact("ForwarderFactory").abi)
    from chains.models import Address

    salt = bytes(Address.objects.get(reference="swept").salt)
    assert factory.functions.address_of(evm.treasury, salt).call() == to

    evm.pay(address=to, value=3_000_000, token=evm.usdt)
    evm.pay(address=to, value=10**15)
    stranger = web3.eth.accounts[7]
    token = web3.eth.contract(evm.usdt, abi=artefact("TestUSDT").abi)
    ether_before = web3.eth.get_balance(evm.treasury)
    usdt_before = token.functions.balanceOf(evm.treasury).call()
    # A thief who names himself as treasury sweeps another, empty address.
    factory.functions.sweep(stranger, evm.usdt, [salt]).transact({"from": stranger})
    assert token.functions.balanceOf(to).call() == 3_000_000

    for what in (evm.usdt, "0x" + "00" * 20):
        factory.functions.sweep(evm.treasury, what, [salt]).transact({"from": stranger})

    assert token.functions.balanceOf(evm.treasury).call() - usdt_before == 3_000_000
    assert web3.eth.get_balance(evm.treasury) - ether_before == 10**15
    forwarder = web3.eth.contract(to, abi=artefact("Forwarder").abi)
    with pytest.raises(Exception, match="only the factory"):
        forwarder.functions.forward(evm.usdt, stranger).transact({"from": stranger})


@pytest.mark.parametrize("source", SOURCES, ids=lambda path: path.stem)
def test_the_artefact_is_what_the_source_compiles_to(source: Path) -> None:
    assert source.with_suffix(".json").read_text() == compiled(source)


@pytest.mark.case("R18")
@pytest.mark.case("R43")
@pytest.mark.parametrize("kind", ["bitcoin", "evm"])
def test_a_wrong_or_missing_node_names_the_setting(
    kind: str, networks: Devnet, settings: Settings
) -> None:
    path = Path(settings.NETWORKS_FILE)
    content = json.loads(path.read_text())
    (one,) = (entry for entry in content["networks"] if entry["kind"] == kind)
    content["networks"] = [one]
    one["endpoints"] = ["http://user:secret@127.0.0.1:9"]
    one.pop("sweeping", None)
    content["assets"] = [
        {"caip19": f"{one['caip2']}/slip44:1", "symbol": "X", "name": "X"}
        | {"decimals": 8 if kind == "bitcoin" else 18}
    ]
    path.write_text(json.dumps(content))
    network = registry().networks[one["caip2"]]
    with pytest.raises(NodeUnavailableError, match="NETWORKS_FILE") as missing:
        node_for(network).tip_height()
    assert "secret" not in str(missing.value)

    wrong = "bip122:000000000019d6689c085ae165831e93" if kind == "bitcoin" else "eip155:1"
    right = networks.bitcoin.rpc_url if kind == "bitcoin" else networks.evm.url
    settings.DEVNET = False
    one |= {"caip2": wrong, "endpoints": [right], "is_devnet": False}
    if kind == "bitcoin":
        from tests.chains.test_keys import ZPUB

        one["account_key"] = ZPUB
    content["assets"][0]["caip19"] = f"{wrong}/slip44:1"
    path.write_text(json.dumps(content))
    with pytest.raises(WrongChainError, match="NETWORKS_FILE"):
        node_for(registry().networks[wrong]).tip_height()


@pytest.mark.case("R34")
def test_an_xprv_in_the_registry_is_refused_and_not_shown(
    networks: Devnet, settings: Settings
) -> None:
    from tests.chains.test_keys import ZPRV

    path = Path(settings.NETWORKS_FILE)
    content = json.loads(path.read_text())
    content["networks"][0]["account_key"] = ZPRV
    path.write_text(json.dumps(content))
    with pytest.raises(RegistryError, match="account_key") as refused:
        registry()
    assert ZPRV[:12] not in str(refused.value)
