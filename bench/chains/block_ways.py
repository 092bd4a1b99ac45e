"""Ways to find a block's outputs in what the node answered; each is run in a process of its own."""

import json
import sys
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Final

import msgspec

from bench.chains.measuring import timed


class Script(msgspec.Struct):
    """As ``getblock`` with verbosity 2 writes it; so are those below."""

    hex: str


class Out(msgspec.Struct):
    """An output."""

    value: Decimal
    n: int
    scriptPubKey: Script  # noqa: N815 -- bitcoind's name


class Tx(msgspec.Struct):
    """A transaction."""

    txid: str
    vout: list[Out]


class Block(msgspec.Struct):
    """A block."""

    tx: list[Tx]


class Answer(msgspec.Struct):
    """What JSON-RPC wraps it in."""

    result: Block


def walk(body: bytes) -> object:
    from chains.bitcoin.blocks import BitcoinBlock, read_header

    raw = bytes.fromhex(msgspec.json.decode(body)["result"])
    return BitcoinBlock(raw, ref=read_header(raw, height=1), asset="").scripts


def bitcoinlib(body: bytes) -> object:
    from bitcoin.core import CBlock

    block = CBlock.deserialize(bytes.fromhex(msgspec.json.decode(body)["result"]))
    return {bytes(out.scriptPubKey): tx.GetTxid() for tx in block.vtx for out in tx.vout}


def by_json(body: bytes) -> object:
    block = json.loads(body, parse_float=Decimal)["result"]
    return {out["scriptPubKey"]["hex"]: tx["txid"] for tx in block["tx"] for out in tx["vout"]}


def by_msgspec(body: bytes) -> object:
    block = msgspec.json.decode(body, type=Answer).result
    return {out.scriptPubKey.hex: tx.txid for tx in block.tx for out in tx.vout}


WAYS: Final[dict[str, tuple[int, Callable[[bytes], object]]]] = {
    "walk over the bytes, checked": (0, walk),
    "python-bitcoinlib, full parse": (0, bitcoinlib),
    "verbosity 2 through json": (2, by_json),
    "verbosity 2 through typed msgspec": (2, by_msgspec),
}
"""By name: the verbosity of ``getblock``, and what reads its answer."""

if __name__ == "__main__":
    verbosity, way = WAYS[sys.argv[1]]
    answer = Path(sys.argv[2], f"block-{verbosity}.json").read_bytes()
    print(json.dumps(timed(lambda _run: way(answer))))
