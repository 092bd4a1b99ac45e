"""Reorganisations of every depth, with payments on both sides of the fork."""

import pytest

from alatau_pay.devnet.bitcoind import BitcoinDevnet
from chains.models import Block
from chains.transfers import inclusions_of
from tests.chains.bitcoin.conftest import (
    Gateway,
    gateway_on,
    mine_only,
    send,
    signed,
    unspent,
)

pytestmark = pytest.mark.django_db


@pytest.mark.case("R1")
@pytest.mark.case("R3")
def test_a_payment_back_in_the_mempool_has_no_confirmations_and_is_not_counted_again(
    gateway: Gateway, bitcoin: BitcoinDevnet
) -> None:
    txid = send(bitcoin, signed(bitcoin, [unspent(bitcoin)], {gateway.address(): 50_000}))
    (orphan,) = bitcoin.mine(1)
    gateway.scan()
    bitcoin.call("invalidateblock", orphan)
    gateway.scan()
    (back,) = gateway.transfers()
    assert (back.state, back.confirmations, back.included_at) == ("seen", 0, None)

    again = mine_only(bitcoin, txid)
    gateway.scan()

    (paid,) = gateway.transfers()
    assert (paid.txid, paid.state, paid.confirmations) == (txid, "included", 1)
    assert [(one.block_hash, one.canonical) for one in inclusions_of(paid)] == [
        (orphan, False),
        (again, True),
    ]


@pytest.mark.case("R2")
@pytest.mark.case("R3")
@pytest.mark.parametrize("depth", [2, 6, 20, 110])
def test_the_fork_is_found_at_any_depth(
    depth: int, gateway: Gateway, bitcoin: BitcoinDevnet
) -> None:
    """A payment before the fork, one that is mined again, and one that is not."""
    homes = [bitcoin.call("getnewaddress", wallet="resident") for _ in range(3)]
    split = send(bitcoin, signed(bitcoin, [unspent(bitcoin)], dict.fromkeys(homes, 100_000)))
    bitcoin.mine(1)
    coins = [(split, vout) for vout in range(3)]
    kept, moved, lost = (
        signed(bitcoin, [coin], {gateway.address(name): 50_000})
        for name, coin in zip(("kept", "moved", "lost"), coins, strict=True)
    )
    send(bitcoin, kept)
    fork_height = bitcoin.call("getblock", bitcoin.mine(1)[0])["height"]
    for raw in (moved, lost):
        send(bitcoin, raw)
    orphans = bitcoin.mine(depth)
    gateway.scan()
    assert gateway.states("kept", "moved", "lost") == ["final"] * 3

    bitcoin.call("invalidateblock", orphans[0])
    mine_only(bitcoin)
    mine_only(bitcoin, moved)
    for _ in range(depth - 1):
        mine_only(bitcoin)
    report = gateway.scan()

    assert (report.rewound, report.applied) == (depth, depth + 1)
    assert Block.objects.filter(hash__in=orphans, canonical=True).count() == 0
    assert Block.objects.get(height=fork_height).canonical
    one, two, three = gateway.transfers("kept", "moved", "lost")
    assert (one.state, one.confirmations) == ("final", depth + 2)
    assert (two.state, two.confirmations) == ("final" if depth > 1 else "included", depth)
    # bitcoind itself brings back to the mempool what few blocks held.
    waits = three.txid in bitcoin.call("getrawmempool")
    assert three.state == ("seen" if waits else "dropped")
    send(bitcoin, lost) if not waits else None
    bitcoin.mine(2)
    gateway.scan()
    assert gateway.states("kept", "moved", "lost") == ["final"] * 3
    assert [len(inclusions_of(fact)) for fact in gateway.transfers("kept", "moved", "lost")] == [
        1,
        2,
        2,
    ]


@pytest.mark.case("R2")
@pytest.mark.parametrize("below", [1, 5])
def test_a_reorganisation_may_begin_below_the_first_block_that_is_scanned(
    below: int, bitcoin: BitcoinDevnet
) -> None:
    """A gateway that has just begun must not stand still for ever."""
    gateway = gateway_on(bitcoin)
    gateway.scan()
    orphan = bitcoin.call("getblockhash", gateway.network.start_height - below)
    bitcoin.call("invalidateblock", orphan)
    for _ in range(below + 2):
        mine_only(bitcoin)
    assert gateway.scan().applied == below + 2
    bitcoin.pay(address=gateway.address(), value_sat=50_000)
    bitcoin.mine(2)
    gateway.scan()
    assert gateway.states() == ["final"]
