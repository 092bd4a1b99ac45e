"""Transactions that take each other's place: by a fee, by malice, by another signature."""

import pytest
from bitcoin.core import CMutableTransaction, CTxIn, b2lx, b2x, x
from bitcoin.core.script import CScript

from alatau_pay.devnet.bitcoind import BitcoinDevnet
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

pytestmark = pytest.mark.django_db
CURVE_ORDER = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141


@pytest.mark.case("R7")
def test_a_fee_raised_to_the_same_address_with_another_amount_counts_once(
    gateway: Gateway, bitcoin: BitcoinDevnet
) -> None:
    to, coin = gateway.address(), unspent(bitcoin)
    first = send(bitcoin, signed(bitcoin, [coin], {to: 50_000}))
    gateway.scan()
    second = send(bitcoin, signed(bitcoin, [coin], {to: 40_000}, fee_sat=20_000))
    gateway.scan()
    was, now = gateway.transfers()
    assert (was.txid, was.state, was.replaced_by) == (first, "replaced", second)
    assert (now.txid, now.state, now.value) == (second, "seen", 40_000)

    bitcoin.mine(2)
    gateway.scan()

    assert [(one.value, one.state) for one in gateway.transfers()] == [
        (50_000, "replaced"),
        (40_000, "final"),
    ]


@pytest.mark.case("R8")
def test_a_payment_taken_back_to_its_payer_is_replaced_though_nothing_pays_us(
    gateway: Gateway, bitcoin: BitcoinDevnet
) -> None:
    paid = bitcoin.pay(address=gateway.address(), value_sat=50_000)
    gateway.scan()
    back = bitcoin.take_back(paid)
    gateway.scan()
    (one,) = gateway.transfers()
    assert (one.state, one.replaced_by) == ("replaced", back)
    bitcoin.mine(3)
    gateway.scan()
    (one,) = gateway.transfers()
    assert (one.state, one.replaced_by) == ("replaced", back)


@pytest.mark.case("R8")
@pytest.mark.case("R13")
def test_a_payment_is_replaced_by_a_conflict_that_was_never_broadcast(
    gateway: Gateway, bitcoin: BitcoinDevnet
) -> None:
    coin = unspent(bitcoin)
    send(bitcoin, signed(bitcoin, [coin], {gateway.address(): 50_000}))
    gateway.scan()
    home = bitcoin.call("getnewaddress", wallet="resident")
    conflict = signed(bitcoin, [coin], {home: 60_000})
    mine_only(bitcoin, conflict)
    gateway.scan()
    (one,) = gateway.transfers()
    assert (one.state, one.replaced_by) == ("replaced", txid_of(bitcoin, conflict))


@pytest.mark.case("R9")
def test_a_payment_is_replaced_after_a_block_that_held_neither(
    gateway: Gateway, bitcoin: BitcoinDevnet
) -> None:
    paid = bitcoin.pay(address=gateway.address(), value_sat=50_000)
    gateway.scan()
    mine_only(bitcoin)
    gateway.scan()
    assert gateway.states() == ["seen"]
    back = bitcoin.take_back(paid)
    mine_only(bitcoin)
    gateway.scan()
    (one,) = gateway.transfers()
    assert (one.state, one.replaced_by) == ("replaced", back)
    bitcoin.mine(1)
    gateway.scan()
    assert gateway.states() == ["replaced"]


@pytest.mark.case("R10")
def test_a_payment_that_does_not_signal_replacement_is_replaced_all_the_same(
    gateway: Gateway, bitcoin: BitcoinDevnet
) -> None:
    """Nodes replace whatever pays more: a sequence number promises nothing, so nothing settles."""
    coin, home = unspent(bitcoin), bitcoin.call("getnewaddress", wallet="resident")
    silent = signed(bitcoin, [coin], {gateway.address(): 50_000}, sequence=0xFFFFFFFF)
    send(bitcoin, silent)
    for _ in range(3):
        gateway.scan()
        assert gateway.states() == ["seen"]
    send(bitcoin, signed(bitcoin, [coin], {home: 50_000}, sequence=0xFFFFFFFF, fee_sat=20_000))
    gateway.scan()
    assert gateway.states() == ["replaced"]


@pytest.mark.case("R11")
def test_a_child_that_pays_for_its_parent_adds_nothing(db: None, bitcoin: BitcoinDevnet) -> None:
    gateway = gateway_on(bitcoin, account_key=bitcoin.account_key)
    gateway.scan()
    coin = unspent(bitcoin)
    raw = signed(bitcoin, [coin], {gateway.address(): 50_000}, fee_sat=300)
    parent = send(bitcoin, raw)
    gateway.scan()
    change = next(
        (parent, one["n"])
        for one in bitcoin.call("decoderawtransaction", raw)["vout"]
        if one["scriptPubKey"]["address"] != gateway.address()
    )
    home = bitcoin.call("getnewaddress", wallet="resident")
    send(bitcoin, signed(bitcoin, [change], {home: 10_000}, fee_sat=50_000))
    gateway.scan()
    # The operator may push it too, by spending what it has just been paid.
    theirs = bitcoin.call("listunspent", 0, 0, [gateway.address()], wallet="treasury")
    assert [(one["txid"], one["amount"] * 100_000_000) for one in theirs] == [(parent, 50_000)]
    treasury = bitcoin.call("getnewaddress", wallet="treasury")
    coins = {"inputs": [{"txid": one["txid"], "vout": one["vout"]} for one in theirs]}
    spend = bitcoin.call("send", [{treasury: "0.0004"}], None, None, 20, coins, wallet="treasury")
    assert spend["complete"]
    gateway.scan()
    (one,) = gateway.transfers()
    assert (one.txid, one.state, one.value) == (parent, "seen", 50_000)
    bitcoin.mine(2)
    gateway.scan()
    (one,) = gateway.transfers()
    assert (one.txid, one.state, one.value) == (parent, "final", 50_000)
    assert len(inclusions_of(one)) == 1


@pytest.mark.case("R6")
def test_a_legacy_payment_with_a_signature_turned_over_counts_once(
    gateway: Gateway, bitcoin: BitcoinDevnet
) -> None:
    """Anybody may negate s in a legacy signature: the same payment gets another txid (BIP-62)."""
    legacy = bitcoin.call("getnewaddress", "", "legacy", wallet="resident")
    funding = send(bitcoin, signed(bitcoin, [unspent(bitcoin)], {legacy: 900_000}))
    bitcoin.mine(1)
    raw = signed(bitcoin, [(funding, 0)], {gateway.address(): 50_000})
    first = send(bitcoin, raw)
    gateway.scan()
    early = gateway.transfers()[0].first_seen_at
    malleated = _with_high_s(raw)
    second = txid_of(bitcoin, malleated)
    assert second != first

    mine_only(bitcoin, malleated)
    gateway.scan()
    bitcoin.mine(1)
    gateway.scan()

    was, now = gateway.transfers()
    assert (was.txid, was.state, was.replaced_by) == (first, "replaced", second)
    assert (now.txid, now.state, now.value) == (second, "final", 50_000)
    assert now.first_seen_at == early


@pytest.mark.case("R6")
@pytest.mark.parametrize("mined", [1, 2])
def test_the_same_outputs_from_the_same_coins_count_once(
    mined: int, gateway: Gateway, bitcoin: BitcoinDevnet
) -> None:
    coin = unspent(bitcoin)
    first = signed(bitcoin, [coin], {gateway.address(): 50_000})
    second = signed(bitcoin, [coin], {gateway.address(): 50_000}, locktime=1)
    send(bitcoin, first)
    gateway.scan()
    mine_only(bitcoin, {1: first, 2: second}[mined])
    gateway.scan()
    bitcoin.mine(1)
    gateway.scan()
    counted = [one.value for one in gateway.transfers() if one.state == "final"]
    assert counted == [50_000]
    assert len(gateway.transfers()) == mined


@pytest.mark.case("R5")
@pytest.mark.parametrize("depth", [2, 7])
def test_a_final_payment_is_replaced_when_a_deep_reorg_confirms_its_conflict(
    depth: int, gateway: Gateway, bitcoin: BitcoinDevnet
) -> None:
    coin, home = unspent(bitcoin), bitcoin.call("getnewaddress", wallet="resident")
    # Signed while the coin is unspent: the payer kept both.
    conflict = signed(bitcoin, [coin], {home: 70_000}, fee_sat=90_000)
    paid = send(bitcoin, signed(bitcoin, [coin], {gateway.address(): 50_000}))
    orphans = bitcoin.mine(depth)
    gateway.scan()
    assert gateway.states() == ["final"]
    revision = gateway.transfers()[0].revision

    bitcoin.call("invalidateblock", orphans[0])
    mine_only(bitcoin, conflict)
    bitcoin.mine(depth)
    gateway.scan()

    (one,) = gateway.transfers()
    assert (one.txid, one.state) == (paid, "replaced")
    assert one.replaced_by == txid_of(bitcoin, conflict)
    assert one.confirmations == 0
    assert one.revision > revision
    (stood,) = inclusions_of(one)
    assert (stood.block_hash, stood.canonical) == (orphans[0], False)


def _with_high_s(raw: str) -> str:
    """The same transaction, its first signature with s negated."""
    tx = CMutableTransaction.deserialize(x(raw))
    signature, public_key = list(CScript(tx.vin[0].scriptSig))
    r_size = signature[3]
    r, s = signature[4 : 4 + r_size], signature[6 + r_size : -1]
    high = CURVE_ORDER - int.from_bytes(s, "big")
    octets = b"\0" + high.to_bytes(32, "big")
    body = b"\x02" + bytes([len(r)]) + r + b"\x02" + bytes([len(octets)]) + octets
    other = b"\x30" + bytes([len(body)]) + body + signature[-1:]
    script = CScript([other, public_key])
    tx.vin = [CTxIn(tx.vin[0].prevout, script, tx.vin[0].nSequence), *tx.vin[1:]]
    assert b2lx(tx.GetTxid())
    return str(b2x(tx.serialize()))
