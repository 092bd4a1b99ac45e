"""The walk over a block finds what python-bitcoinlib's full parse finds, and is not fooled."""

import struct

import pytest
from bitcoin.core import (
    CBlock,
    CMutableTransaction,
    COutPoint,
    CTransaction,
    CTxIn,
    CTxInWitness,
    CTxOut,
    CTxWitness,
    b2lx,
    x,
)
from bitcoin.core.script import CScript, CScriptWitness
from hypothesis import given, settings
from hypothesis import strategies as st

from alatau_pay.devnet.bitcoind import CAIP2, BitcoinDevnet
from chains.addresses import allocate_address
from chains.bitcoin.blocks import (
    VALUE_SAT_MAX,
    BitcoinBlock,
    merkle_root,
    outputs_of,
    read_header,
)
from chains.bitcoin.keys import SCRIPT_HEADS
from chains.lookups import rows_matching
from chains.models import Address
from chains.networks import registry
from chains.nodes import NodeContradictionError
from tests.chains.bitcoin.conftest import Gateway, send, signed, unspent

octets = st.binary(max_size=40) | st.binary(min_size=253, max_size=300)
inputs = st.tuples(st.binary(min_size=32, max_size=32), st.integers(0, 2**32 - 1), octets)
programs = st.builds(
    lambda head, body: head + body[: head[1]],
    st.sampled_from(sorted(SCRIPT_HEADS.values())),
    st.binary(min_size=32, max_size=32),
)
outputs = st.tuples(st.integers(0, VALUE_SAT_MAX), octets | programs)


@st.composite
def transactions(draw: st.DrawFn) -> CTransaction:
    spends = draw(st.lists(inputs, min_size=1, max_size=4))
    pays = draw(st.lists(outputs, min_size=1, max_size=4))
    tx = CMutableTransaction(
        [CTxIn(COutPoint(txid, vout), CScript(script)) for txid, vout, script in spends],
        [CTxOut(value, CScript(script)) for value, script in pays],
        nLockTime=draw(st.integers(0, 2**32 - 1)),
    )
    if draw(st.booleans()):
        stacks = [draw(st.lists(octets, min_size=1, max_size=3)) for _ in spends]
        tx.wit = CTxWitness([CTxInWitness(CScriptWitness(stack)) for stack in stacks])
    return CTransaction.from_tx(tx)


def block_of(parts: list[CTransaction]) -> CBlock:
    unrooted = CBlock(vtx=parts)
    return CBlock(hashMerkleRoot=unrooted.calc_merkle_root(), vtx=parts)


def walked(raw: bytes) -> BitcoinBlock:
    return BitcoinBlock(raw, ref=read_header(raw, height=7), asset="btc")


blocks = st.lists(transactions(), min_size=1, max_size=7, unique_by=lambda tx: tx.GetTxid())


@settings(deadline=None)
@given(parts=blocks)
def test_the_walk_finds_what_a_full_parse_finds(parts: list[CTransaction]) -> None:
    read = walked(block_of(parts).serialize())
    paid = [one for tx in parts for one in outputs_of(tx, asset="btc")]
    scripts = {one.script for one in paid}
    assert read.scripts == {one for one in scripts if one[:2] in set(SCRIPT_HEADS.values())}
    assert list(read.outputs_to(scripts)) == paid
    for script in sorted(scripts)[:3]:
        assert list(read.outputs_to({script})) == [one for one in paid if one.script == script]
    spent = {
        bytes(one.prevout.hash) + struct.pack("<I", one.prevout.n): b2lx(tx.GetTxid())
        for tx in parts
        for one in tx.vin
    }
    assert set(read.spent) == set(spent)
    assert {outpoint: read.spender_of(outpoint) for outpoint in spent} == spent


@settings(deadline=None)
@given(parts=blocks, data=st.data())
def test_bytes_that_were_cut_or_changed_are_no_block(
    parts: list[CTransaction], data: st.DataObject
) -> None:
    plain = [CTransaction(tx.vin, tx.vout, tx.nLockTime, tx.nVersion) for tx in parts]
    raw = block_of(plain).serialize()
    ref = read_header(raw, height=7)
    place = data.draw(st.integers(0, len(raw) - 1))
    changed = raw[:place] + bytes([raw[place] ^ data.draw(st.integers(1, 255))]) + raw[place + 1 :]
    for broken in (raw[:place], raw + b"\0", changed):
        with pytest.raises(NodeContradictionError):
            BitcoinBlock(broken, ref=ref, asset="btc")


@pytest.mark.case("R21")
def test_transactions_told_twice_are_no_block_though_their_root_is_the_same() -> None:
    """CVE-2012-2459: the last of three counts twice for the root; so told, it would pay twice."""
    parts = [
        CTransaction([CTxIn(COutPoint(bytes([one]) * 32, 0))], [CTxOut(9, CScript(b"\x51"))])
        for one in range(6)
    ]
    for honest, told in (
        (parts[:3], [*parts[:3], parts[2]]),
        (parts, [*parts, *parts[4:]]),
    ):
        raw, twice = block_of(honest).serialize(), block_of(told).serialize()
        assert raw[:80] == twice[:80]
        walked(raw)
        with pytest.raises(NodeContradictionError):
            walked(twice)
    assert merkle_root([b"\1" * 32]) == b"\1" * 32


@pytest.mark.django_db
def test_a_real_block_of_old_and_new_transactions(gateway: Gateway, bitcoin: BitcoinDevnet) -> None:
    legacy = bitcoin.call("getnewaddress", "", "legacy", wallet="resident")
    funding = send(bitcoin, signed(bitcoin, [unspent(bitcoin)], {legacy: 900_000}))
    bitcoin.mine(1)
    send(bitcoin, signed(bitcoin, [(funding, 0)], {gateway.address(): 50_000}))
    (mined,) = bitcoin.mine(1)
    raw = x(bitcoin.call("getblock", mined, 0))
    told = bitcoin.call("getblock", mined, 2)
    read = walked(raw)
    scripts = {
        x(one["scriptPubKey"]["hex"])
        for tx in told["tx"]
        for one in tx["vout"]
        if one["value"] and one["scriptPubKey"]["type"].startswith("witness_v")
    }
    assert read.scripts == scripts
    assert read.ref.hash == mined


@pytest.mark.django_db
@pytest.mark.usefixtures("networks")
def test_a_look_up_finds_its_rows_among_thousands_of_byte_strings() -> None:
    network = registry().networks[CAIP2]
    for number in range(3):
        allocate_address(network=network, reference=f"n{number}")
    ours = [bytes(one.script) for one in Address.objects.all()]
    strange = [b"", b"\0", b"'\\\"{},", *(number.to_bytes(22, "big") for number in range(9_000))]
    query = "SELECT script, reference FROM chains_address WHERE script = ANY(%s) ORDER BY index"
    assert rows_matching(query, [*strange, *ours, *ours]) == [
        (script, f"n{number}") for number, script in enumerate(ours)
    ]
    assert rows_matching(query, strange) == []
    assert rows_matching(query, []) == []
