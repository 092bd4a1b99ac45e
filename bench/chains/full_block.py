"""A full block on a real regtest node: 4 million weight, some 3,600 transactions, 7,900 outputs.

Nobody signs for it: the coins it spends lie under scripts that anybody can satisfy, with witnesses
as large as signatures and keys are.
"""

import random
from collections.abc import Iterator, Sequence
from hashlib import sha256
from itertools import islice
from typing import Final

from bitcoin.core import (
    CMutableTransaction,
    COutPoint,
    CTxIn,
    CTxInWitness,
    CTxOut,
    CTxWitness,
    b2lx,
    b2x,
    lx,
    x,
)
from bitcoin.core.script import OP_2DROP, OP_TRUE, CScript, CScriptWitness

from alatau_pay.devnet.bitcoind import BitcoinDevnet

WEIGHT_MAX: Final = 4_000_000
TRANSACTIONS: Final = 3_600
OUTPUTS: Final = 7_900
COINS: Final = 7_400
FAN: Final = 2_400
SIGNATURE, PUBLIC_KEY = b"\x30" * 72, b"\x02" * 33
SCRIPT: Final = CScript([OP_2DROP, OP_TRUE])
LARGE: Final = CScript([OP_2DROP] * 5 + [OP_TRUE])
LARGE_EVERY: Final = 18
ROOM: Final = 3_000
"""Weight left for the header and the coinbase."""

Coin = tuple[str, int]


def mine_full_blocks(node: BitcoinDevnet, *, paid: Sequence[Sequence[bytes]]) -> list[str]:
    """Mine a block for each list in ``paid``, one after the other, that pays its scripts once each.

    Returns their hashes.
    """
    plain = _coins(node, SCRIPT, COINS * len(paid))
    large = _coins(node, LARGE, TRANSACTIONS // LARGE_EVERY * len(paid))
    home = node.call("getnewaddress", wallet="resident")
    hashes = []
    for seed, scripts in enumerate(paid):
        chance = random.Random(seed)  # noqa: S311 -- a benchmark
        transactions = _transactions(iter(plain), iter(large), list(scripts), chance)
        raws = [b2x(tx.serialize()) for tx in transactions]
        hashes.append(str(node.call("generateblock", home, raws)["hash"]))
        del plain[: sum(len(tx.vin) for tx in transactions)], large[: TRANSACTIONS // LARGE_EVERY]
    return hashes


def _transactions(
    plain: Iterator[Coin], large: Iterator[Coin], paid: list[bytes], chance: random.Random
) -> list[CMutableTransaction]:
    """The transactions of one block; those that spend large coins take what room is left."""
    transactions: list[CMutableTransaction] = []
    weight, outputs = ROOM, 1
    for number in range(TRANSACTIONS - 1):
        spread = (OUTPUTS - outputs) / (TRANSACTIONS - 1 - number)
        count = max(1, round(spread + chance.choice([-1, 0, 0, 1])))
        scripts = [paid.pop() if paid else _anybody(chance) for _ in range(count)]
        is_large = number % LARGE_EVERY == 0
        spent = [next(large)] if is_large else [*islice(plain, chance.choice([1, 2, 2, 3]))]
        tx = _transaction(spent, scripts, pad=450 if is_large else 0)
        weight, outputs = weight + _weight(tx), outputs + count
        transactions.append(tx)
    larges = transactions[::LARGE_EVERY]
    room = (WEIGHT_MAX - weight) // len(larges) // 10
    for tx in larges:
        _set_witness(tx, 0, [b"\x55" * min(520, 450 + room)] * 10, LARGE)
    return transactions


def _coins(node: BitcoinDevnet, script: CScript, count: int) -> list[Coin]:
    """Coins under a script that anybody can satisfy, each from a transaction of its own."""
    payee = CScript(b"\0\x20" + sha256(script).digest())
    address = node.call("decodescript", b2x(payee))["address"]
    home = node.call("getnewaddress", wallet="resident")
    blocks = node.call("generatetoaddress", -(-count // FAN), address)
    node.mine(100)
    coins: list[Coin] = []
    for number, block in enumerate(blocks):
        coinbase = node.call("getblock", block)["tx"][0]
        size = min(FAN, count - number * FAN)
        value = int(node.call("gettxout", coinbase, 0)["value"] * 100_000_000) // size
        fan = _spending((coinbase, 0), script, [CTxOut(value, payee) for _ in range(size)])
        node.call("generateblock", home, [b2x(fan.serialize())])
        txid = b2lx(fan.GetTxid())
        ones = [
            _spending((txid, vout), script, [CTxOut(value - 1_000, payee)]) for vout in range(size)
        ]
        node.call("generateblock", home, [b2x(one.serialize()) for one in ones])
        coins += [(b2lx(one.GetTxid()), 0) for one in ones]
    return coins


def _spending(coin: Coin, script: CScript, outputs: Sequence[CTxOut]) -> CMutableTransaction:
    tx = CMutableTransaction([CTxIn(COutPoint(lx(coin[0]), coin[1]))], outputs)
    tx.wit = CTxWitness([CTxInWitness()])
    _set_witness(tx, 0, [b""] * (10 if script == LARGE else 2), script)
    return tx


def _transaction(
    spent: Sequence[Coin], scripts: Sequence[bytes], *, pad: int
) -> CMutableTransaction:
    tx = CMutableTransaction(
        [CTxIn(COutPoint(lx(txid), vout)) for txid, vout in spent],
        [CTxOut(10_000, CScript(script)) for script in scripts],
    )
    tx.wit = CTxWitness([CTxInWitness() for _ in spent])
    for place in range(len(spent)):
        if pad:
            _set_witness(tx, place, [b"\x55" * pad] * 10, LARGE)
        else:
            _set_witness(tx, place, [SIGNATURE, PUBLIC_KEY], SCRIPT)
    return tx


def _set_witness(
    tx: CMutableTransaction, place: int, items: Sequence[bytes], script: CScript
) -> None:
    witnesses = list(tx.wit.vtxinwit)
    witnesses[place] = CTxInWitness(CScriptWitness([*items, bytes(script)]))
    tx.wit = CTxWitness(witnesses)


def _weight(tx: CMutableTransaction) -> int:
    bare = CMutableTransaction(tx.vin, tx.vout, tx.nLockTime, tx.nVersion)
    return 3 * len(bare.serialize()) + len(tx.serialize())


def _anybody(chance: random.Random) -> bytes:
    """A scriptPubKey of somebody, in the mixture of these years."""
    kind = chance.random()
    if kind < 0.55:
        return x("0014") + chance.randbytes(20)
    if kind < 0.8:
        return x("5120") + chance.randbytes(32)
    if kind < 0.9:
        return x("76a914") + chance.randbytes(20) + x("88ac")
    return x("a914") + chance.randbytes(20) + x("87")
