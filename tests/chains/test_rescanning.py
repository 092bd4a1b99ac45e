"""A rescan changes nothing where nothing is missing, and finds what is."""

from dataclasses import replace

import pytest
from django.core.management import CommandError, call_command

from alatau_pay.devnet import anvil, bitcoind
from alatau_pay.devnet.nodes import Devnet
from chains.addresses import allocate_address
from chains.assets import Network
from chains.models import Block, Cursor, Inclusion, Spend, Transfer
from chains.networks import node_for, registry
from chains.nodes import NodeContradictionError
from chains.rescanning import NothingScannedError, rescan_network
from chains.scanning import scan_network
from chains.transfers import TransferState, transfers_of

pytestmark = pytest.mark.django_db

KINDS = pytest.mark.parametrize("caip2", [bitcoind.CAIP2, anvil.CAIP2])


def scan(network: Network) -> None:
    assert scan_network(network=network, node=node_for(network)).caught_up


def rescan(network: Network, first: int) -> int:
    return rescan_network(network=network, node=node_for(network), first=first).found


def pay_and_mine(devnet: Devnet, network: Network, address: str, blocks: int = 3) -> None:
    if network.caip2 == bitcoind.CAIP2:
        devnet.bitcoin.pay(address=address, value_sat=30_000)
        devnet.bitcoin.mine(blocks)
    else:
        devnet.evm.pay(address=address, value=70_000, token=devnet.evm.usdt)
        devnet.evm.mine(blocks)


def stored() -> list[list[tuple[object, ...]]]:
    return [
        list(model.objects.order_by("pk").values_list())
        for model in (Transfer, Inclusion, Spend, Block, Cursor)
    ]


def lose(network: Network) -> None:
    """Forget every transfer, as a database that was restored from too old a backup."""
    for model in (Inclusion, Spend, Transfer):
        model.objects.all().delete()


@KINDS
def test_nothing_changes_where_nothing_is_missing(networks: Devnet, caip2: str) -> None:
    network = registry().networks[caip2]
    scan(network)
    for number in range(3):
        pay_and_mine(
            networks, network, allocate_address(network=network, reference=str(number)).text
        )
    scan(network)
    before = stored()
    assert len(before[0]) == 3
    assert rescan(network, network.start_height) == 0
    assert stored() == before


@KINDS
@pytest.mark.case("R130")
def test_what_is_missing_is_found_with_the_same_identity_and_no_later(
    networks: Devnet, caip2: str
) -> None:
    network = registry().networks[caip2]
    scan(network)
    address = allocate_address(network=network, reference="lost").text
    pay_and_mine(networks, network, address)
    scan(network)
    (before,) = transfers_of(references=["lost"])
    lose(network)
    cursor = Cursor.objects.get(network=caip2)
    assert rescan(network, network.start_height) == 1
    (found,) = transfers_of(references=["lost"])
    assert found.identity == before.identity
    assert found.state is TransferState.INCLUDED
    assert found.included_at is not None
    assert found.first_seen_at <= found.included_at
    assert found.revision > cursor.revision
    assert Cursor.objects.get(network=caip2).height == cursor.height
    assert rescan(network, network.start_height) == 0
    scan(network)
    (settled,) = transfers_of(references=["lost"])
    assert (settled.state, settled.identity) == (TransferState.FINAL, before.identity)


@KINDS
def test_blocks_before_the_start_height_can_be_read_too(networks: Devnet, caip2: str) -> None:
    network = registry().networks[caip2]
    address = allocate_address(network=network, reference="early").text
    first = node_for(network).tip_height() + 1
    pay_and_mine(networks, network, address, blocks=4)
    late = replace(network, start_height=node_for(network).tip_height())
    scan(late)
    assert transfers_of(references=["early"]) == []
    assert rescan(late, first) == 1
    scan(late)
    assert [one.state for one in transfers_of(references=["early"])] == [TransferState.FINAL]


@pytest.mark.case("R2")
def test_a_chain_that_was_reorganised_is_to_be_scanned_first(networks: Devnet) -> None:
    network = registry().networks[bitcoind.CAIP2]
    address = allocate_address(network=network, reference="moved").text
    scan(network)
    pay_and_mine(networks, network, address, blocks=2)
    scan(network)
    tip = networks.bitcoin.call("getblockcount")
    orphan = networks.bitcoin.call("getblockhash", tip - 1)
    networks.bitcoin.call("invalidateblock", orphan)
    networks.bitcoin.mine(4)
    before = stored()
    with pytest.raises(NodeContradictionError, match="scan the network"):
        rescan(network, network.start_height)
    assert stored() == before
    scan(network)
    assert rescan(network, network.start_height) == 0


def test_only_what_was_scanned_can_be_read_again(networks: Devnet) -> None:
    network = registry().networks[bitcoind.CAIP2]
    with pytest.raises(NothingScannedError, match="not scanned yet"):
        rescan(network, 1)
    scan(network)
    with pytest.raises(NothingScannedError, match="nothing from 10000000"):
        rescan(network, 10_000_000)
    with pytest.raises(CommandError, match="Name one network"):
        call_command("rescan", "--from", "1")


def test_the_command_says_what_it_found(
    networks: Devnet, capsys: pytest.CaptureFixture[str]
) -> None:
    network = registry().networks[bitcoind.CAIP2]
    scan(network)
    address = allocate_address(network=network, reference="said").text
    pay_and_mine(networks, network, address)
    scan(network)
    lose(network)
    for said in ("Found and stored: 1", "Nothing was missing."):
        call_command("rescan", "--network", "bitcoin", "--from", str(network.start_height))
        assert said in capsys.readouterr().out
