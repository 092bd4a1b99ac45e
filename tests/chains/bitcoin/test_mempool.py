"""What waits to be mined: how it leaves and returns, and that announcements decide nothing."""

import asyncio
import time
from dataclasses import replace
from pathlib import Path

import pytest
import zmq
import zmq.asyncio
from bitcoin.core import CMutableTransaction, COutPoint, CTxIn, CTxOut, b2x, lx
from bitcoin.core.script import CScript
from django.db import connection

from alatau_pay.devnet.bitcoind import BitcoinDevnet, start_bitcoind
from alatau_pay.devnet.nodes import Devnet
from alatau_pay.devnet.processes import free_port
from alatau_pay.listening import POKE_GAP_S, listen
from chains.models import Transfer, TransferState
from chains.transfers import inclusions_of
from tests.chains.bitcoin.conftest import (
    Gateway,
    gateway_on,
    mine_only,
    send,
    signed,
    txid_of,
    unspent,
)

HOUR_S = 3_600


@pytest.mark.django_db
@pytest.mark.case("R12")
def test_a_payment_that_expires_is_dropped_and_may_return(networks: Devnet, tmp_path: Path) -> None:
    options = ["-mempoolexpiry=1", "-persistmempool=0", "-walletbroadcast=0"]
    with start_bitcoind(tmp_path, options=options) as node:
        node.mine(5)
        gateway = gateway_on(node)
        gateway.scan()
        raw = signed(node, [unspent(node)], {gateway.address(): 50_000})
        paid = send(node, raw)
        gateway.scan()
        early = gateway.transfers()[0].first_seen_at
        node.call("setmocktime", int(time.time()) + 2 * HOUR_S)  # noqa: TID251 -- the node's clock
        home = node.call("getnewaddress", wallet="resident")
        other = [
            (one["txid"], one["vout"])
            for one in node.call("listunspent", 1, wallet="resident")
            if (one["txid"], one["vout"]) != _coin_of(node, raw)
        ]
        send(node, signed(node, other[:1], {home: 10_000}))  # whatever enters sweeps out the old
        assert paid not in node.call("getrawmempool")
        gateway.scan()
        assert gateway.states() == ["dropped"]
        gateway.scan()
        assert gateway.states() == ["dropped"]

        send(node, raw)
        gateway.scan()
        (back,) = gateway.transfers()
        assert (back.txid, back.state, back.first_seen_at) == (paid, "seen", early)
        node.mine(2)
        gateway.scan()
        assert gateway.states() == ["final"]


@pytest.mark.django_db
@pytest.mark.case("R12")
def test_a_payment_that_another_node_did_not_hold_returns_without_a_broadcast(
    bitcoin: BitcoinDevnet, gateway: Gateway
) -> None:
    bitcoin.pay(address=gateway.address(), value_sat=50_000)
    gateway.scan()
    Transfer.objects.update(state=TransferState.DROPPED)  # as a worker with that node left it
    gateway.scan()
    assert gateway.states() == ["seen"]


@pytest.mark.django_db
@pytest.mark.case("R66")
def test_what_a_scan_could_not_store_is_handed_out_again(
    bitcoin: BitcoinDevnet, gateway: Gateway
) -> None:
    """Another scan moves the cursor between the question and the answer's storing."""
    gateway.node.pending(frozenset()).taken()
    txid = bitcoin.pay(address=gateway.address(), value_sat=50_000)
    for _ in range(2):
        assert txid in {one.txid for one in gateway.node.pending(frozenset()).outputs}
    gateway.scan()
    assert gateway.states() == ["seen"]
    assert not gateway.node.pending(frozenset()).outputs


@pytest.mark.django_db
@pytest.mark.case("R12")
def test_a_payment_that_richer_ones_push_out_is_dropped_and_counts_once_mined(
    networks: Devnet, tmp_path: Path
) -> None:
    with start_bitcoind(tmp_path, options=["-maxmempool=5"]) as node:
        gateway = gateway_on(node)
        gateway.scan()
        homes = [node.call("getnewaddress", wallet="resident") for _ in range(41)]
        fan = send(node, signed(node, [unspent(node)], dict.fromkeys(homes, 10_000_000)))
        node.mine(1)
        coins = [(fan, number) for number in range(41)]
        raw = signed(node, [coins.pop()], {gateway.address(): 50_000}, fee_sat=300)
        paid = send(node, raw)
        gateway.scan()
        assert gateway.states() == ["seen"]
        while paid in node.call("getrawmempool"):
            # Each pays more than the one before: none is pushed out itself.
            send(node, _large(node, coins.pop(), each_sat=700 + 20 * len(coins)))
        gateway.scan()
        assert gateway.states() == ["dropped"]

        mined = mine_only(node, raw)  # a miner had kept it
        node.mine(1)
        gateway.scan()
        (one,) = gateway.transfers()
        assert (one.txid, one.state) == (paid, "final")
        assert [stood.block_hash for stood in inclusions_of(one)] == [mined]


@pytest.mark.django_db
@pytest.mark.case("R13")
def test_a_payment_that_no_mempool_held_counts(gateway: Gateway, bitcoin: BitcoinDevnet) -> None:
    raw = signed(bitcoin, [unspent(bitcoin)], {gateway.address(): 50_000}, fee_sat=0)
    mine_only(bitcoin, raw)
    gateway.scan()
    (one,) = gateway.transfers()
    assert (one.txid, one.state, one.value) == (txid_of(bitcoin, raw), "included", 50_000)
    bitcoin.mine(1)
    gateway.scan()
    assert gateway.states() == ["final"]


@pytest.mark.case("R14")
def test_announcements_decide_when_and_never_what(committed: None, networks: Devnet) -> None:
    """What bitcoind announced is lost in part, and told twice, backwards, stale and invented."""
    node = networks.bitcoin
    port = free_port()
    gateway = gateway_on(node)
    listened = replace(gateway.network, push=f"tcp://127.0.0.1:{port}")
    gateway.scan()
    heard: list[str] = []
    states: list[list[str]] = []

    def scan(caip2: str) -> None:
        heard.append(caip2)
        gateway.scan()
        states.append(gateway.states())
        connection.close()

    async def course() -> None:
        with zmq.asyncio.Context.instance().socket(zmq.PUB) as liar:
            liar.bind(listened.push)
            listening = asyncio.create_task(listen([listened], scan))
            genuine = await asyncio.to_thread(_announcements_of, node, gateway)
            told = [
                *genuine,
                *reversed(genuine),
                [b"hashtx", b"\0" * 32, b"\0" * 4],
                [b"hashblock"],
            ]
            for number in range(20):
                await liar.send_multipart(told[number % len(told)])
                await asyncio.sleep(POKE_GAP_S / 2)
            listening.cancel()

    asyncio.run(course())
    assert len(heard) > 2
    assert set(heard) == {gateway.network.caip2}
    assert {tuple(one) for one in states} == {("final", "seen")}


def _announcements_of(node: BitcoinDevnet, gateway: Gateway) -> list[list[bytes]]:
    """Pay, mine and pay again, and give what bitcoind announces of it."""
    with zmq.Context.instance().socket(zmq.SUB) as ear:
        ear.setsockopt(zmq.SUBSCRIBE, b"hash")
        ear.setsockopt(zmq.RCVTIMEO, 2_000)
        ear.connect(node.zmq_url)
        time.sleep(0.5)
        send(node, signed(node, [unspent(node)], {gateway.address(): 50_000}))
        node.mine(2)
        send(node, signed(node, [unspent(node)], {gateway.address(): 60_000}))
        said = []
        try:
            while True:
                said.append(ear.recv_multipart())
        except zmq.Again:
            pass
    connection.close()
    assert {one[0] for one in said} == {b"hashtx", b"hashblock"}
    return said


def _coin_of(node: BitcoinDevnet, raw: str) -> tuple[str, int]:
    spent = node.call("decoderawtransaction", raw)["vin"][0]
    return spent["txid"], spent["vout"]


def _large(node: BitcoinDevnet, coin: tuple[str, int], *, each_sat: int) -> str:
    """A transaction of nearly 100 kB that pays a hundred times what ours does."""
    outputs = [
        CTxOut(each_sat, CScript(b"\0\x14" + b"\x33" * 20))
    ] * 3_000  # nobody's: wallets are slow
    tx = CMutableTransaction([CTxIn(COutPoint(lx(coin[0]), coin[1]))], outputs)
    done = node.call("signrawtransactionwithwallet", b2x(tx.serialize()), wallet="resident")
    return str(done["hex"])
