"""A model Bitcoin network: real transactions and blocks in bytes, and bitcoind's answers to RPC.

The adapter that reads it is the real one (``chains.bitcoin.node``); only bitcoind is a model.
"""

import random
from collections.abc import Callable, Generator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from bitcoin.core import (
    CBlockHeader,
    CMutableOutPoint,
    CMutableTransaction,
    CMutableTxIn,
    CMutableTxOut,
    CoreRegTestParams,
    CScript,
    CTransaction,
    Hash,
    b2lx,
    lx,
)
from bitcoin.core.serialize import VarIntSerializer
from bitcoin.segwit_addr import decode as bech32_decode
from typing_extensions import override

from chains.assets import Asset, Network
from chains.bitcoin.blocks import BitcoinBlock
from chains.bitcoin.node import BitcoinNode
from chains.bitcoin.rpc import NOT_FOUND, OUT_OF_RANGE, BitcoinRpc, RpcError
from chains.nodes import BlockPrunedError
from tests.simulation.chain import Block, Chain, Mood, Pay, Tx
from tests.simulation.servers import Server

GENESIS: Final = CoreRegTestParams.GENESIS_BLOCK
STRANGER: Final = b"\x00\x14" + b"\x51" * 20
CHANGE_SAT: Final = 7_777


def script_of(address: str) -> bytes:
    """The script that a payer's wallet derives from a BIP-173 address."""
    version, program = bech32_decode(address.partition("1")[0], address)
    return bytes([version + 0x50 if version else 0, len(program)]) + bytes(program)


def genesis(block_hash: str = "") -> Block:
    """The first block of every regtest chain, or of a chain that is none."""
    return Block(
        height=0,
        hash=block_hash or b2lx(GENESIS.GetHash()),
        parent=None,
        time=datetime.fromtimestamp(GENESIS.nTime, tz=UTC),
        body=GENESIS.serialize(),
    )


class BitcoinPayers:
    """Whoever makes transactions and blocks: wallets and miners."""

    def __init__(self, *, rng: random.Random, now: Callable[[], datetime], asset: str) -> None:
        self._rng, self._now, self._asset = rng, now, asset
        self.skew = timedelta(0)
        self.reward: list[tuple[bytes, int]] = []

    def pay(self, pays: Sequence[tuple[bytes, int]], *, parent: Tx | None = None) -> Tx:
        """A payment to some scripts with change, from fresh coins or a parent's change (R11)."""
        coins = [self._rng.randbytes(32) + bytes(4) for _ in range(self._rng.choice((1, 1, 2)))]
        if parent is not None:
            # The change is the last output of every payment made here.
            last = len(CTransaction.deserialize(parent.body).vout) - 1
            coins = [lx(parent.txid) + last.to_bytes(4, "little")]
        return self.build(coins, pays, needs=(parent.txid,) if parent else ())

    def conflict(self, tx: Tx, pays: Sequence[tuple[bytes, int]]) -> Tx:
        """Another transaction that spends at least one coin of the first (R7, R8, R10)."""
        kept = tx.claims[: self._rng.randint(1, len(tx.claims))]
        return self.build(kept, pays, needs=tx.needs, replaces=tx)

    def malleate(self, tx: Tx) -> Tx:
        """The same transaction under another txid (R6): somebody changed its signature."""
        made = CMutableTransaction.from_tx(CTransaction.deserialize(tx.body))
        made.vin[0].scriptSig = CScript(self._rng.randbytes(8))
        pays = [(bytes(one.scriptPubKey), one.nValue) for one in made.vout]
        return self._transaction(made, pays, needs=tx.needs, replaces=tx)

    def coinbase(self, height: int, pays: Sequence[tuple[bytes, int]]) -> Tx:
        """A block's first transaction; it may pay us (R29)."""
        made = CMutableTransaction()
        tag = CScript(height.to_bytes(4, "little") + self._rng.randbytes(8))
        made.vin = [CMutableTxIn(CMutableOutPoint(), tag)]
        tx = self._transaction(made, pays or [(STRANGER, 5_000_000_000)], needs=())
        tx.claims, tx.waits, tx.is_coinbase = (), False, True
        return tx

    def build(
        self,
        coins: Sequence[bytes],
        pays: Sequence[tuple[bytes, int]],
        *,
        needs: tuple[str, ...],
        replaces: Tx | None = None,
    ) -> Tx:
        """A transaction that spends some outpoints; its last output is change to a stranger."""
        made = CMutableTransaction()
        made.vin = [
            CMutableTxIn(
                CMutableOutPoint(one[:32], int.from_bytes(one[32:], "little")),
                CScript(self._rng.randbytes(6)),
            )
            for one in coins
        ]
        return self._transaction(made, [*pays, (STRANGER, CHANGE_SAT)], needs, replaces)

    def _transaction(
        self,
        made: CMutableTransaction,
        pays: Sequence[tuple[bytes, int]],
        needs: tuple[str, ...],
        replaces: Tx | None = None,
    ) -> Tx:
        made.vout = [CMutableTxOut(value, CScript(script)) for script, value in pays]
        return Tx(
            txid=b2lx(made.GetTxid()),
            claims=tuple(
                bytes(one.prevout.hash) + int(one.prevout.n).to_bytes(4, "little")
                for one in made.vin
            ),
            needs=needs,
            moods=(Mood(pays=self._outputs(pays)),),
            born_at=self._now(),
            body=made.serialize(),
            replaces=replaces,
        )

    def _outputs(self, pays: Sequence[tuple[bytes, int]]) -> tuple[Pay, ...]:
        return tuple(
            Pay(position=f"out:{vout}", script=script, asset=self._asset, value=value)
            for vout, (script, value) in enumerate(pays)
        )

    def seal(self, parent: Block, txs: Sequence[Tx]) -> Block:
        """A block over a parent; its coinbase goes where ``reward`` says, once."""
        time = self._now() + self.skew
        mined = [self.coinbase(parent.height + 1, self.reward), *txs]
        self.reward = []
        header = CBlockHeader(
            nVersion=4,
            hashPrevBlock=lx(parent.hash),
            hashMerkleRoot=_merkle_root([lx(tx.txid) for tx in mined]),
            nTime=int(time.timestamp()),
            nNonce=self._rng.getrandbits(32),
        )
        body = VarIntSerializer.serialize(len(mined)) + b"".join(tx.body for tx in mined)
        return Block(
            height=parent.height + 1,
            hash=b2lx(header.GetHash()),
            parent=parent,
            time=time.replace(microsecond=0),
            mined=tuple((tx, tx.moods[0]) for tx in mined),
            body=header.serialize() + body,
        )


class SimulatedBitcoinNode(BitcoinNode):
    """The real adapter, connected to a model server; blocks are fetched one after the other."""

    def __init__(self, *, network: Network, coin: Asset, server: Server) -> None:
        self._server = server
        super().__init__(network=network, coin=coin, url="http://127.0.0.1:1")

    @override
    def read_blocks(self, first: int, last: int) -> Generator[BitcoinBlock]:
        for height in range(first, last + 1):
            yield self._read(self._rpc, height, self._rpc.call("getblockhash", height))

    @override
    def _connection(self) -> BitcoinRpc:
        return ModelRpc(self._server)  # type: ignore[return-value]


class ModelRpc:
    """bitcoind's answers, as ``chains.bitcoin.rpc.BitcoinRpc`` hands them on."""

    def __init__(self, server: Server) -> None:
        self._server = server

    def call(self, method: str, *params: Any) -> Any:  # noqa: ANN401 -- JSON
        """Answer one question as the server sees the chain at this moment."""
        self._server.ask(method)
        answers: dict[str, Callable[..., Any]] = {
            "getblockhash": self._block_hash,
            "getblockheader": self._header,
            "getblock": self._block,
            "getblockchaininfo": self._chain_info,
            "getrawmempool": lambda: list(self._server.waiting),
        }
        return answers[method](*params)

    def batch_found(self, method: str, rows: Sequence[Sequence[Any]]) -> list[Any]:
        """The raw transactions that are in the mempool; None for others."""
        self._server.ask(method)
        waiting = self._server.waiting
        return [waiting[txid].body.hex() if txid in waiting else None for (txid,) in rows]

    def close(self) -> None:
        """Nothing is held."""

    def _block_hash(self, height: int) -> str:
        block = self._server.block_at(height)
        if block is None:
            raise RpcError("Block height out of range", OUT_OF_RANGE)
        return block.hash

    def _known(self, block_hash: str) -> Block:
        block = self._server.known(block_hash)
        if block is None:
            raise RpcError("Block not found", NOT_FOUND)
        return block

    def _header(self, block_hash: str, verbose: bool = True) -> Any:  # noqa: ANN401
        block = self._known(block_hash)
        if not verbose:
            return block.body[:80].hex()
        best = self._server.best
        on_best = best.at(block.height) is block
        return {"confirmations": best.height - block.height + 1 if on_best else -1}

    def _block(self, block_hash: str, _verbosity: int) -> str:
        block = self._known(block_hash)
        if block.height <= self._server.pruned_below:
            raise BlockPrunedError("Block not available (pruned data)")
        return block.body.hex()

    def _chain_info(self) -> dict[str, Any]:
        height = self._server.best.height
        return {
            "initialblockdownload": self._server.is_warming_up,
            "headers": height,
            "blocks": height,
        }


def _merkle_root(level: list[bytes]) -> bytes:
    while len(level) > 1:
        level = level if len(level) % 2 == 0 else [*level, level[-1]]
        level = [Hash(level[one] + level[one + 1]) for one in range(0, len(level), 2)]
    return level[0]


def chain_of(payers: BitcoinPayers, rng: random.Random, *, genesis_hash: str = "") -> Chain:
    """An empty chain whose blocks these payers' miners make."""
    return Chain(genesis=genesis(genesis_hash), rng=rng, seal=payers.seal)
