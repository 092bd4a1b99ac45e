"""A network's own coin, found in one way only: by calls, by traces, by logs or by balances."""

import sys
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from web3.contract import Contract

from alatau_pay.devnet import anvil
from alatau_pay.devnet.contracts import artefact
from chains.alerts import AlertKind, open_alerts
from chains.assets import Asset, NativeMode
from chains.balances import read_balances
from chains.evm.logs import COIN_LOGGER
from chains.models import Address, Outflow, Transfer
from chains.networks import node_for, registry
from chains.nodes import Output
from chains.pool import NodePool
from chains.rescanning import rescan_network
from chains.scanning import scan_network
from tests.chains.evm.conftest import Scene
from tests.chains.evm.deploying import compiled, deploy, send
from tests.chains.evm.proxy import Json, provider, refuse

pytestmark = pytest.mark.django_db

SYSTEM = "0x" + COIN_LOGGER.hex()


def coin() -> Asset:
    return next(one for one in registry().assets_on(anvil.CAIP2) if one.contract is None)


def in_mode(scene: Scene, mode: NativeMode) -> Scene:
    network = replace(scene.network, native=mode)
    return Scene(scene.evm, network, node_for(network), scene.tag)


def read(scene: Scene) -> None:
    """What a worker does in one round."""
    scene.scan()
    while read_balances(network=scene.network, coin=coin(), nodes=scene.nodes):
        scene.scan()


def settle(scene: Scene) -> None:
    scene.evm.mine(3)
    read(scene)


def sweep(scene: Scene, *, token: str = "0x" + "00" * 20) -> None:
    row = Address.objects.get(reference=f"{scene.tag}-one")
    factory = scene.evm.web3().eth.contract(
        scene.network.factory, abi=artefact("ForwarderFactory").abi
    )
    call = factory.functions.sweep(scene.network.treasury, token, [bytes(row.salt)])
    factory.w3.eth.default_account = scene.evm.resident
    send(call)


@pytest.fixture
def balances(scene: Scene) -> Scene:
    """The network by balances; every address of a test is waited for."""
    return in_mode(scene, NativeMode.BALANCES)


def waited_for(scene: Scene, reference: str = "one") -> str:
    return scene.address(reference, watch_until=timezone.now() + timedelta(hours=1))


def network_logger(scene: Scene) -> Contract:
    """The system address as EIP-7708 makes it speak, played by a contract that logs on demand."""
    web3 = scene.evm.web3()
    template = deploy(scene.evm, "HostileToken", 1)
    scene.evm.rpc("anvil_setCode", SYSTEM, "0x" + bytes(web3.eth.get_code(template.address)).hex())
    web3.eth.default_account = scene.evm.resident
    return web3.eth.contract(web3.to_checksum_address(SYSTEM), abi=compiled("HostileToken")["abi"])


@pytest.mark.case("R57")
def test_by_calls_only_what_a_transaction_carries_is_found(scene: Scene) -> None:
    scene = in_mode(scene, NativeMode.CALLS)
    wallet = deploy(scene.evm, "Wallet")
    send(wallet.functions.pay(scene.to, 5), value=5)
    scene.evm.pay(address=scene.to, value=6)
    scene.settle()
    assert scene.counted() == [6]


def test_by_calls_several_blocks_are_read_as_one_is(scene: Scene) -> None:
    scene = in_mode(scene, NativeMode.CALLS)
    for value in (1, 2, 3):
        scene.evm.pay(address=scene.to, value=value)
    scene.settle()
    assert scene.counted() == [1, 2, 3]


def test_by_traces_the_networks_own_logs_are_not_counted_again(scene: Scene) -> None:
    logger = network_logger(scene)
    scene.evm.pay(address=scene.to, value=5)
    send(logger.functions.claim(scene.to, 5))  # what EIP-7708 says of the same payment
    scene.settle()
    assert scene.counted() == [5]
    assert [one.position for one in scene.facts()] == ["call:"]


def test_by_logs_the_same_payment_is_not_counted_by_its_call(scene: Scene) -> None:
    scene = in_mode(scene, NativeMode.LOGS)
    logger = network_logger(scene)
    scene.evm.pay(address=scene.to, value=5)
    send(logger.functions.claim(scene.to, 5))
    scene.settle()
    assert scene.counted() == [5]
    assert [one.position for one in scene.facts()] == ["log:0"]
    assert scene.facts()[0].asset == coin().caip19


@pytest.fixture
def as_a_worker() -> Iterator[None]:
    """Python's own limit of recursion: the compiler of the tests' contracts raises it."""
    before = sys.getrecursionlimit()
    sys.setrecursionlimit(1_000)
    yield
    sys.setrecursionlimit(before)


def test_a_transaction_of_many_nested_calls_stops_no_scan(scene: Scene, as_a_worker: None) -> None:
    """Its trace nests deeper than Python lets C code go; it costs cents on a cheap network."""
    web3 = scene.evm.web3()
    digger = web3.to_checksum_address("0x" + "d1" * 20)
    # PUSH0 five times, ADDRESS, GAS, CALL: it calls itself for as long as the gas lasts.
    scene.evm.rpc("anvil_setCode", digger, "0x5f5f5f5f5f305af100")
    sent = web3.eth.send_transaction({"from": scene.evm.resident, "to": digger, "gas": 16_700_000})
    assert web3.eth.wait_for_transaction_receipt(sent)["status"] == 1
    scene.evm.pay(address=scene.to, value=5)
    scene.settle()
    assert scene.counted() == [5]


def test_a_node_with_the_other_trace_gives_the_same_places(scene: Scene) -> None:
    """``trace_block`` instead of ``debug_traceBlockByHash``; a transaction keeps its identity."""

    def without_debug(question: Json, said: Json) -> Json:
        if question["method"] == "debug_traceBlockByHash":
            return refuse(question, -32601, "the method does not exist")
        return said

    wallet = deploy(scene.evm, "Wallet")
    scene.evm.pay(address=wallet.address, value=70)
    send(wallet.functions.pay_many([scene.to, scene.address("two")], [1, 2]), value=3)
    send(wallet.functions.pay_deep(scene.to, 4, 2), value=4)
    send(wallet.functions.pay_in_vain(scene.to, 50), value=50)
    send(wallet.functions.pay_and_revert(scene.to, 50), value=50, fails=True)
    send(wallet.functions.destroy(scene.to))
    scene.evm.pay(address=scene.to, value=5)
    height = scene.evm.web3().eth.block_number
    first = scene.network.start_height
    scripts = {bytes.fromhex(scene.to[2:])}

    def outputs(nodes: NodePool) -> list[Output]:
        return [
            output
            for content in nodes.read_blocks(first, height)
            for output in content.outputs_to(scripts)
        ]

    with provider(scene.evm.url, without_debug) as other:
        flat = outputs(scene.over(other.url).nodes)
        assert other.asked["trace_block"] > 0
    assert flat == outputs(scene.nodes)
    assert len(flat) == 4


@pytest.mark.case("R58")
def test_withdrawals_are_found_by_their_index(scene: Scene) -> None:
    """No devnet has a consensus layer: the header of a real node is given one withdrawal."""
    height = scene.evm.web3().eth.block_number + 1
    paid = {"index": "0x2a", "validatorIndex": "0x1", "address": scene.to, "amount": "0x3"}

    def with_withdrawal(_question: Json, said: Json) -> Json:
        block = said.get("result")
        if isinstance(block, dict) and block.get("number") == hex(height):
            block["withdrawals"] = [paid]
        return said

    with provider(scene.evm.url, with_withdrawal) as seen:
        over = scene.over(seen.url)
        over.settle()
    assert [(one.txid, one.value) for one in scene.facts()] == [("withdrawal-42", 3 * 10**9)]


@pytest.mark.case("R57")
def test_by_balances_every_way_of_paying_is_found_once(balances: Scene) -> None:
    to = waited_for(balances)
    read(balances)
    wallet = deploy(balances.evm, "Wallet")
    balances.evm.pay(address=wallet.address, value=70)
    balances.evm.pay(address=to, value=1)
    send(wallet.functions.pay(to, 20), value=20)
    send(wallet.functions.pay_in_vain(to, 5), value=5)
    send(wallet.functions.destroy(to))
    settle(balances)
    facts = balances.facts()
    # What pay_in_vain got back stays in the wallet until that is destroyed.
    assert [one.value for one in facts] == [1, 20, 75]
    assert {one.state for one in facts} == {"final"}
    assert all(one.position.startswith("balance:") for one in facts)
    assert sum(one.value for one in facts) == balances.evm.web3().eth.get_balance(to)


@pytest.mark.case("R57")
def test_by_balances_a_payment_is_dated_by_the_block_that_brought_it(balances: Scene) -> None:
    to = waited_for(balances)
    read(balances)
    balances.evm.mine(5)
    balances.evm.pay(address=to, value=3)
    brought = balances.evm.web3().eth.get_block("latest")
    balances.evm.mine(9)
    settle(balances)
    (fact,) = balances.facts()
    assert fact.first_seen_at == fact.included_at
    row = Transfer.objects.select_related("block").get()
    assert row.block is not None
    assert row.block.height == brought["number"]


@pytest.mark.case("R58")
@pytest.mark.parametrize("way", ["coinbase", "consensus layer"])
def test_by_balances_what_no_trace_shows_is_found(way: str, balances: Scene) -> None:
    to = waited_for(balances)
    read(balances)
    web3 = balances.evm.web3()
    if way == "coinbase":
        miner = web3.eth.get_block("latest")["miner"]
        balances.evm.rpc("anvil_setCoinbase", to)
        balances.evm.pay(address=balances.evm.treasury, value=1)
        balances.evm.rpc("anvil_setCoinbase", miner)
    else:
        balances.evm.rpc("anvil_setBalance", to, hex(9))
    settle(balances)
    held = web3.eth.get_balance(to)
    assert held > 0
    assert balances.counted() == [held]


@pytest.mark.case("R66")
def test_by_balances_nothing_is_counted_twice(balances: Scene) -> None:
    to = waited_for(balances)
    read(balances)
    balances.evm.pay(address=to, value=8)
    settle(balances)
    for _ in range(3):
        settle(balances)
        Address.objects.update(balance_height=0)  # as if all had been forgotten
    assert balances.counted() == [8]


def test_by_balances_sweeps_are_reckoned_with(balances: Scene) -> None:
    to = waited_for(balances)
    read(balances)
    balances.evm.pay(address=to, value=8)
    sweep(balances)
    balances.evm.pay(address=to, value=5)
    sweep(balances)
    balances.evm.pay(address=to, value=2)
    settle(balances)
    assert balances.evm.web3().eth.get_balance(to) == 2
    assert sum(balances.counted()) == 15
    assert sorted(int(one.value) for one in Outflow.objects.all()) == [5, 8]


def test_by_balances_a_sweep_of_tokens_takes_no_coin(balances: Scene) -> None:
    to = waited_for(balances)
    read(balances)
    balances.evm.pay(address=to, value=8)
    balances.evm.pay(address=to, value=6, token=balances.evm.usdt)
    sweep(balances, token=balances.evm.usdt)
    settle(balances)
    assert balances.counted() == [6, 8]
    (outflow,) = Outflow.objects.all()
    assert outflow.asset.endswith(balances.evm.usdt)


def test_by_balances_late_payments_are_found_in_turn(balances: Scene) -> None:
    to = balances.address("late")  # nobody waits for it
    read(balances)
    balances.evm.pay(address=to, value=4)
    settle(balances)
    assert balances.counted("late") == [4]


def test_by_balances_whoever_is_waited_for_is_looked_at_page_by_page(
    balances: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Some share their time, and none is due any more once looked at: nobody is passed over."""
    monkeypatch.setattr("chains.balances.CHUNK", 2)
    at = timezone.now() + timedelta(hours=1)
    names = [str(number) for number in range(7)]
    places = [
        balances.address(name, watch_until=at + timedelta(seconds=int(name) // 3)) for name in names
    ]
    read(balances)
    for value, to in enumerate(places, start=1):
        balances.evm.pay(address=to, value=value)
    with CaptureQueriesContext(connection) as asked:
        settle(balances)
    assert [balances.counted(name) for name in names] == [[one] for one in range(1, 8)]
    pages = [one["sql"] for one in asked if 'watch_until" >' in one["sql"]]
    assert len(pages) > 4
    assert all("LIMIT" in page for page in pages)


def test_by_balances_less_than_what_was_found_is_told(balances: Scene) -> None:
    to = waited_for(balances)
    read(balances)
    balances.evm.pay(address=to, value=8)
    settle(balances)
    balances.evm.rpc("anvil_setBalance", to, hex(3))
    settle(balances)
    (alert,) = open_alerts(network=anvil.CAIP2)
    assert (alert.kind, alert.subject) == (AlertKind.BALANCE_UNEXPLAINED, to)
    assert balances.counted() == [8]


def test_an_address_is_never_counted_in_two_ways(scene: Scene) -> None:
    """From traces to balances and back: what one way found, the other leaves alone."""
    by_trace = scene.to
    scene.evm.pay(address=by_trace, value=3)
    scene.settle()
    balances = in_mode(scene, NativeMode.BALANCES)
    by_balance = waited_for(balances, "two")
    for to in (by_trace, by_balance):
        balances.evm.pay(address=to, value=10)
    settle(balances)
    assert balances.counted() == [3, 10]
    assert balances.counted("two") == [10]

    again = in_mode(scene, NativeMode.TRACES)
    third = waited_for(again, "three")
    for to in (by_trace, by_balance, third):
        again.evm.pay(address=to, value=20)
    settle(again)
    assert again.counted() == [3, 10, 20]
    assert again.counted("two") == [10, 20]
    assert again.counted("three") == [20]
    web3 = again.evm.web3()
    assert web3.eth.get_balance(by_trace) == 33
    assert web3.eth.get_balance(by_balance) == 30
    assert [one.position for one in again.facts("three")] == ["call:"]
    assert all(one.position.startswith("balance:") for one in again.facts("two"))


@pytest.mark.parametrize(
    ("before", "after"),
    [(NativeMode.TRACES, NativeMode.LOGS), (NativeMode.LOGS, NativeMode.TRACES)],
)
def test_what_one_way_counted_is_not_read_again_in_another(
    before: NativeMode, after: NativeMode, scene: Scene
) -> None:
    """A payment that a call made and the network logged, in one transaction (EIP-7708)."""
    scene = in_mode(scene, before)
    logger, wallet = network_logger(scene), deploy(scene.evm, "Wallet")
    entry = deploy(scene.evm, "EntryPoint")
    scene.evm.pay(address=wallet.address, value=50)

    def pay(value: int) -> None:
        calls = [
            wallet.encode_abi("pay", [scene.to, value]),
            logger.encode_abi("claim", [scene.to, value]),
        ]
        send(entry.functions.handle_ops([wallet.address, logger.address], calls))

    pay(5)
    scene.settle()
    assert scene.counted() == [5]
    other = in_mode(scene, after)
    again = rescan_network(
        network=other.network, node=other.nodes, first=other.network.start_height
    )
    assert (again.found, other.counted()) == (0, [5])
    pay(7)
    other.settle()
    assert other.counted() == [5, 7]
    kinds = {one.value: one.position.partition(":")[0] for one in other.facts()}
    names = {NativeMode.TRACES: "call", NativeMode.LOGS: "log"}
    assert kinds == {5: names[before], 7: names[after]}


def test_by_balances_a_reorganisation_takes_back_and_finds_anew(balances: Scene) -> None:
    evm, web3 = balances.evm, balances.evm.web3()
    to = waited_for(balances)
    read(balances)
    snapshot = evm.rpc("evm_snapshot")
    evm.pay(address=to, value=8)
    settle(balances)
    assert balances.counted() == [8]
    later = web3.eth.get_block("latest")["timestamp"] + 60
    evm.rpc("evm_revert", snapshot)
    evm.rpc("anvil_setNextBlockTimestamp", hex(later))
    evm.mine(1)
    evm.pay(address=to, value=9)
    evm.mine(6)
    settle(balances)
    assert balances.counted() == [9]


def test_by_balances_a_forgotten_state_dates_by_the_block_that_was_looked_at(
    balances: Scene,
) -> None:
    to = waited_for(balances)
    read(balances)
    balances.evm.mine(4)
    balances.evm.pay(address=to, value=3)
    balances.evm.mine(8)
    tip = balances.evm.web3().eth.get_block("latest")

    def forgetful(question: Json, said: Json) -> Json:
        at = question["params"][1] if question["method"] == "eth_call" else None
        if isinstance(at, dict) and at["blockHash"] not in known:
            return refuse(question, -32000, "missing trie node")
        return said

    web3 = balances.evm.web3()
    known = {
        "0x" + bytes(web3.eth.get_block(number)["hash"]).hex()
        for number in range(tip["number"] - 3, tip["number"] + 1)
    }
    with provider(balances.evm.url, forgetful) as seen:
        over = balances.over(seen.url)
        read(over)
    assert balances.counted() == [3]


def test_a_new_report_of_the_same_block_changes_nothing(scene: Scene) -> None:
    scene.evm.pay(address=scene.to, value=3)
    scene.settle()
    report = scan_network(network=scene.network, node=scene.nodes)
    assert not report.changed
