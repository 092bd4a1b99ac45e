"""What counts as a payment inside one transaction, and what a number may be."""

import pytest
from bitcoin.core import (
    CBlock,
    CMutableTransaction,
    COutPoint,
    CTransaction,
    CTxIn,
    CTxOut,
    b2lx,
    b2x,
    lx,
    x,
)
from bitcoin.core.script import CScript
from pytest_django.fixtures import DjangoAssertNumQueries

from alatau_pay.devnet.bitcoind import BitcoinDevnet
from chains.bitcoin.blocks import VALUE_SAT_MAX, BitcoinBlock, outputs_of, read_header
from tests.chains.bitcoin.conftest import Gateway, mine_only, send, signed, unspent, value_of

pytestmark = pytest.mark.django_db
SCRIPT = bytes.fromhex("0014") + b"\x11" * 20


def signed_raw(node: BitcoinDevnet, tx: CMutableTransaction) -> str:
    done = node.call("signrawtransactionwithwallet", b2x(tx.serialize()), wallet="resident")
    assert done["complete"]
    return str(done["hex"])


def script_of(node: BitcoinDevnet, address: str) -> CScript:
    return CScript(x(node.call("getaddressinfo", address, wallet="resident")["scriptPubKey"]))


@pytest.mark.case("R21")
def test_every_output_to_one_address_counts(gateway: Gateway, bitcoin: BitcoinDevnet) -> None:
    """No wallet pays one address twice in a transaction; an exchange's batch may."""
    coin = unspent(bitcoin)
    script = script_of(bitcoin, gateway.address())
    home = script_of(bitcoin, bitcoin.call("getnewaddress", wallet="resident"))
    left = value_of(bitcoin, coin) - 100_000
    amounts = [(10_000, script), (20_000, script), (left, home), (10_000, script)]
    tx = CMutableTransaction(
        [CTxIn(COutPoint(lx(coin[0]), coin[1]))],
        [CTxOut(amount, payee) for amount, payee in amounts],
    )
    send(bitcoin, signed_raw(bitcoin, tx))
    gateway.scan()
    assert gateway.states() == ["seen"] * 3
    bitcoin.mine(2)
    gateway.scan()
    assert [(one.position, one.value, one.state) for one in gateway.transfers()] == [
        ("out:0", 10_000, "final"),
        ("out:1", 20_000, "final"),
        ("out:3", 10_000, "final"),
    ]


@pytest.mark.case("R22")
def test_one_transaction_pays_many(gateway: Gateway, bitcoin: BitcoinDevnet) -> None:
    names = [f"invoice {number}" for number in range(5)]
    payees = {gateway.address(name): 1_000 + number for number, name in enumerate(names)}
    send(bitcoin, signed(bitcoin, [unspent(bitcoin)], payees))
    bitcoin.mine(2)
    gateway.scan()
    assert {one.reference: (one.value, str(one.state)) for one in gateway.transfers(*names)} == {
        name: (1_000 + number, "final") for number, name in enumerate(names)
    }


@pytest.mark.case("R23")
@pytest.mark.case("R24")
def test_an_address_that_was_paid_is_watched_for_ever(
    gateway: Gateway, bitcoin: BitcoinDevnet
) -> None:
    bitcoin.pay(address=gateway.address(), value_sat=50_000)
    bitcoin.mine(30)
    gateway.scan()
    bitcoin.pay(address=gateway.address(), value_sat=60_000)
    gateway.scan()
    assert gateway.states() == ["final", "seen"]
    bitcoin.mine(2)
    gateway.scan()
    assert [(one.value, one.state) for one in gateway.transfers()] == [
        (50_000, "final"),
        (60_000, "final"),
    ]


@pytest.mark.case("R29")
def test_a_coinbase_output_is_final_only_when_it_can_be_spent(
    gateway: Gateway, bitcoin: BitcoinDevnet
) -> None:
    bitcoin.call("generatetoaddress", 1, gateway.address())
    bitcoin.mine(98)
    gateway.scan()
    (young,) = gateway.transfers()
    assert (young.state, young.confirmations) == ("included", 99)
    bitcoin.mine(1)
    gateway.scan()
    (ripe,) = gateway.transfers()
    assert (ripe.state, ripe.confirmations) == ("final", 100)


@pytest.mark.case("R26")
def test_dust_is_kept_as_it_is(gateway: Gateway, bitcoin: BitcoinDevnet) -> None:
    """Only a miner can put it there; it is a payment all the same, of one satoshi."""
    mine_only(bitcoin, signed(bitcoin, [unspent(bitcoin)], {gateway.address(): 1}))
    bitcoin.mine(1)
    gateway.scan()
    assert [(one.value, one.state) for one in gateway.transfers()] == [(1, "final")]


@pytest.mark.case("R26")
def test_ten_thousand_outputs_to_one_address_cost_a_bounded_number_of_queries(
    gateway: Gateway,
    bitcoin: BitcoinDevnet,
    django_assert_max_num_queries: DjangoAssertNumQueries,
) -> None:
    script = script_of(bitcoin, gateway.address())
    homes = [bitcoin.call("getnewaddress", wallet="resident") for _ in range(4)]
    fan = send(bitcoin, signed(bitcoin, [unspent(bitcoin)], dict.fromkeys(homes, 10_000_000)))
    bitcoin.mine(1)
    for number in range(4):
        outputs = [CTxOut(330, script)] * 2_500
        tx = CMutableTransaction([CTxIn(COutPoint(lx(fan), number))], outputs)
        send(bitcoin, signed_raw(bitcoin, tx))
    with django_assert_max_num_queries(80):
        gateway.scan()
    assert gateway.states() == ["seen"] * 10_000
    bitcoin.mine(4)
    with django_assert_max_num_queries(120):
        gateway.scan()
    assert gateway.states() == ["final"] * 10_000


@pytest.mark.case("R30")
@pytest.mark.parametrize(
    ("value", "counts"),
    [
        (1, True),
        (VALUE_SAT_MAX, True),
        (0, False),
        (-1, False),
        (-(2**63), False),
        (VALUE_SAT_MAX + 1, False),
        (2**63 - 1, False),
    ],
)
def test_no_amount_outside_the_money_there_is_counts(value: int, counts: bool) -> None:
    """Consensus forbids such outputs: a node that sends one is broken or lies."""
    tx = CMutableTransaction([CTxIn(COutPoint(b"\x22" * 32, 0))], [CTxOut(value, CScript(SCRIPT))])
    assert len(outputs_of(CTransaction.from_tx(tx), asset="btc")) == counts
    block = CBlock(vtx=[CTransaction.from_tx(tx)])
    block = CBlock(hashMerkleRoot=block.calc_merkle_root(), vtx=block.vtx)
    raw = block.serialize()
    read = BitcoinBlock(raw, ref=read_header(raw, height=1), asset="btc")
    assert (SCRIPT in read.scripts) == counts
    assert [one.value for one in read.outputs_to({SCRIPT})] == [value] * counts
    assert b2lx(block.GetHash()) == read.ref.hash
