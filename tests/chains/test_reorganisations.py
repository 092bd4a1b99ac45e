"""What a scan takes back, and what it refuses to: on real nodes."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from eth_account import Account
from web3 import HTTPProvider, Web3

from alatau_pay.devnet import anvil, bitcoind
from alatau_pay.devnet.bitcoind import start_bitcoind
from alatau_pay.devnet.contracts import artefact
from alatau_pay.devnet.nodes import Devnet
from alatau_pay.devnet.processes import free_port, running
from alatau_pay.devnet.tools import anvil_command
from chains.addresses import allocate_address
from chains.assets import FinalityTier
from chains.bitcoin.node import BitcoinNode
from chains.models import Block, Cursor, Transfer
from chains.networks import node_for, registry
from chains.nodes import NodeBlindError, NodeContradictionError, WrongChainError
from chains.scanning import scan_network
from chains.transfers import transfers_of

pytestmark = pytest.mark.django_db


def scan(caip2: str) -> None:
    network = registry().networks[caip2]
    report = scan_network(network=network, node=node_for(network))
    assert report.caught_up


def address(caip2: str, reference: str = "one") -> str:
    return allocate_address(network=registry().networks[caip2], reference=reference).text


def states(reference: str = "one") -> list[str]:
    return [one.state for one in transfers_of(references=[reference])]


@pytest.mark.case("R2")
@pytest.mark.parametrize("depth", [1, 2, 6, 20])
def test_a_reorg_of_any_depth_is_undone_at_once(depth: int, networks: Devnet) -> None:
    scan(bitcoind.CAIP2)
    txid = networks.bitcoin.pay(address=address(bitcoind.CAIP2), value_sat=30_000)
    raw = networks.bitcoin.call("getrawtransaction", txid)
    orphans = networks.bitcoin.mine(depth)
    scan(bitcoind.CAIP2)
    networks.bitcoin.call("invalidateblock", orphans[0])
    # After ten blocks bitcoind leaves it to the wallets to broadcast again.
    if txid not in networks.bitcoin.call("getrawmempool"):
        networks.bitcoin.call("sendrawtransaction", raw)
    network = registry().networks[bitcoind.CAIP2]
    networks.bitcoin.mine(depth + 1)

    report = scan_network(network=network, node=node_for(network))

    assert (report.rewound, report.applied) == (depth, depth + 1)
    assert Block.objects.filter(hash__in=orphans, canonical=True).count() == 0
    (paid,) = transfers_of(references=["one"])
    assert paid.confirmations == depth + 1


@pytest.mark.case("R15")
def test_a_node_that_lost_its_chain_takes_nothing_back(networks: Devnet, tmp_path: Path) -> None:
    scan(bitcoind.CAIP2)
    networks.bitcoin.pay(address=address(bitcoind.CAIP2), value_sat=30_000)
    networks.bitcoin.mine(3)
    scan(bitcoind.CAIP2)
    before = Cursor.objects.values().get(network=bitcoind.CAIP2)
    network = registry().networks[bitcoind.CAIP2]
    coin = registry().assets_on(network.caip2)[0]

    with start_bitcoind(tmp_path / "young") as young:
        node = BitcoinNode(network=network, coin=coin, url=young.rpc_url)
        with pytest.raises(NodeBlindError, match="behind"):
            scan_network(network=network, node=node)
        young.mine(before["height"])  # longer than ours, and nothing in common but its genesis
        with pytest.raises(NodeContradictionError, match="no block in common"):
            scan_network(network=network, node=node)

    assert Cursor.objects.values().get(network=bitcoind.CAIP2) == before
    assert states() == ["final"]


@pytest.mark.case("R18")
@pytest.mark.case("R43")
def test_a_chain_swapped_behind_the_same_url_is_refused(networks: Devnet, tmp_path: Path) -> None:
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    web3 = Web3(HTTPProvider(url))
    listed = registry().networks[anvil.CAIP2]
    network = replace(listed, endpoints=(url,), start_height=1, factory="")
    node = node_for(network)

    def command(chain_id: int, began_at: int) -> list[str]:
        options = ["--host", "127.0.0.1", "--port", str(port), "--silent"]
        return [
            *anvil_command(),
            *options,
            "--chain-id",
            str(chain_id),
            "--timestamp",
            str(began_at),
        ]

    with running(
        command(31337, 1_790_000_000), folder=tmp_path / "a", name="a", answers=web3.is_connected
    ):
        web3.provider.make_request("anvil_mine", ["0x5"])  # type: ignore[arg-type]
        assert scan_network(network=network, node=node).caught_up
    before = Cursor.objects.values().get(network=anvil.CAIP2)
    with running(
        command(1, 1_790_001_000), folder=tmp_path / "b", name="b", answers=web3.is_connected
    ):
        web3.provider.make_request("anvil_mine", ["0x9"])  # type: ignore[arg-type]
        with pytest.raises(WrongChainError):
            scan_network(network=network, node=node)
    assert Cursor.objects.values().get(network=anvil.CAIP2) == before


def test_a_transaction_mined_again_with_another_value_counts_by_its_new_facts(
    networks: Devnet,
) -> None:
    """A contract pays what it holds: the same transaction moves another sum in another block."""
    evm, web3 = networks.evm, networks.evm.web3()
    scan(anvil.CAIP2)
    to = address(anvil.CAIP2)
    salt = b"\x77" * 32
    factory = web3.eth.contract(evm.factory, abi=artefact("ForwarderFactory").abi)
    payer = factory.functions.address_of(to, salt).call()
    Account.enable_unaudited_hdwallet_features()
    account = Account.from_mnemonic(anvil.MNEMONIC, account_path="m/44'/60'/0'/0/5")
    fees = {"gas": 600_000, "maxFeePerGas": 10**11, "maxPriorityFeePerGas": 10**9}
    nonce = web3.eth.get_transaction_count(account.address)
    raw = account.sign_transaction(
        factory.functions.sweep(to, evm.usdt, [salt]).build_transaction(
            {"from": account.address, "nonce": nonce, "chainId": anvil.CHAIN_ID, **fees}
        )
    ).raw_transaction
    snapshot = evm.rpc("evm_snapshot")
    evm.pay(address=payer, value=9_000_000, token=evm.usdt)
    first = web3.eth.wait_for_transaction_receipt(web3.eth.send_raw_transaction(raw))
    scan(anvil.CAIP2)

    evm.rpc("evm_revert", snapshot)
    later = int(web3.eth.get_block("latest")["timestamp"]) + 50
    evm.rpc("anvil_setNextBlockTimestamp", hex(later))
    evm.pay(address=payer, value=1, token=evm.usdt)
    again = web3.eth.wait_for_transaction_receipt(web3.eth.send_raw_transaction(raw))
    evm.mine(3)
    scan(anvil.CAIP2)

    assert first["transactionHash"] == again["transactionHash"]
    assert first["blockHash"] != again["blockHash"]
    was, now = transfers_of(references=["one"])
    assert (was.value, was.state, was.replaced_by) == (9_000_000, "replaced", was.txid)
    assert (now.value, now.state, now.txid) == (1, "final", was.txid)
    assert was.identity != now.identity


@pytest.mark.case("R7")
def test_a_raised_fee_keeps_the_time_of_the_first_broadcast(networks: Devnet) -> None:
    scan(bitcoind.CAIP2)
    txid = networks.bitcoin.pay(address=address(bitcoind.CAIP2), value_sat=70_000)
    scan(bitcoind.CAIP2)
    early = datetime.now(UTC) - timedelta(minutes=30)
    Transfer.objects.update(first_seen_at=early)

    bumped = networks.bitcoin.call("bumpfee", txid, wallet="resident")["txid"]
    scan(bitcoind.CAIP2)

    first, second = transfers_of(references=["one"])
    assert (first.state, first.replaced_by) == ("replaced", bumped)
    assert (second.state, second.first_seen_at) == ("seen", early)


@pytest.mark.case("R15")
@pytest.mark.case("R71")
def test_what_was_mined_while_nobody_looked_is_dated_by_its_block(
    networks: Devnet, tmp_path: Path
) -> None:
    now, hour = datetime.now(UTC), timedelta(hours=1)
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    web3 = Web3(HTTPProvider(url))
    command = [*anvil_command(), "--host", "127.0.0.1", "--port", str(port), "--silent"]
    command += ["--timestamp", str(int((now - 2 * hour).timestamp()))]
    listed = registry().networks[anvil.CAIP2]
    network = replace(listed, endpoints=(url,), start_height=1, factory="")
    with running(command, folder=tmp_path / "a", name="a", answers=web3.is_connected):
        assert scan_network(network=network, node=node_for(network)).caught_up
        for reference, blind_for in (("long", 3 * hour), ("short", hour)):
            to = address(anvil.CAIP2, reference)
            web3.eth.send_transaction({"from": web3.eth.accounts[1], "to": to, "value": 5})
            Cursor.objects.update(caught_up_at=now - blind_for)
            scan_network(network=network, node=node_for(network))
    (long,) = transfers_of(references=["long"])
    (short,) = transfers_of(references=["short"])
    assert long.first_seen_at == long.included_at
    assert abs(long.first_seen_at - (now - 2 * hour)) < hour / 2
    # A block that claims to be older than when everything was last seen is not believed.
    assert short.first_seen_at == now - hour


def test_more_money_waits_longer_also_when_it_comes_in_parts(networks: Devnet) -> None:
    listed = registry().networks[bitcoind.CAIP2]
    coin = registry().assets_on(listed.caip2)[0].caip19
    tiers = (
        FinalityTier(asset=coin, value_max=10_000, confirmations=1),
        FinalityTier(asset=coin, value_max=50_000, confirmations=2),
    )
    network = replace(listed, finality_tiers=tiers, final_confirmations=4)
    scan(bitcoind.CAIP2)
    networks.bitcoin.pay(address=address(bitcoind.CAIP2, "small"), value_sat=10_000)
    networks.bitcoin.pay(address=address(bitcoind.CAIP2, "large"), value_sat=50_001)
    for _ in range(3):
        networks.bitcoin.pay(address=address(bitcoind.CAIP2, "split"), value_sat=10_000)
    reached: dict[str, int] = {}
    for confirmations in range(1, 5):
        networks.bitcoin.mine(1)
        scan_network(network=network, node=node_for(network))
        for reference in ("small", "split", "large"):
            if set(states(reference)) == {"final"}:
                reached.setdefault(reference, confirmations)
    assert reached == {"small": 1, "split": 2, "large": 4}


def test_more_money_waits_longer_also_when_its_parts_come_one_after_the_other(
    networks: Devnet,
) -> None:
    """Each part alone would be final at once, and one reorganisation could take all of them."""
    listed = registry().networks[bitcoind.CAIP2]
    coin = registry().assets_on(listed.caip2)[0].caip19
    tiers = (FinalityTier(asset=coin, value_max=10_000, confirmations=1),)
    network = replace(listed, finality_tiers=tiers, final_confirmations=4)
    scan(bitcoind.CAIP2)
    final = []
    for _ in range(6):
        networks.bitcoin.pay(address=address(bitcoind.CAIP2, "parts"), value_sat=10_000)
        networks.bitcoin.mine(1)
        scan_network(network=network, node=node_for(network))
        final.append(states("parts").count("final"))
    assert final == [1, 1, 1, 1, 2, 3]
