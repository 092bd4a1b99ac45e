"""A model EVM network: accounts' transactions whose logs depend on the block they run in."""

import random
from collections.abc import Callable, Collection, Generator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from datetime import datetime, timedelta
from hashlib import sha256

from chains.assets import Asset, Network
from chains.networks import registry
from chains.nodes import (
    BlockRef,
    NodeBlindError,
    NodeUnavailableError,
    Output,
    Pending,
    WrongChainError,
)
from tests.simulation.chain import Block, Chain, Pay, Tx
from tests.simulation.servers import Server


def address_bytes(address: str) -> bytes:
    """The 20 bytes that a payer's wallet reads from an address."""
    return bytes.fromhex(address.removeprefix("0x"))


class EvmPayers:
    """Accounts that send, contracts whose effect depends on their state, and validators."""

    def __init__(self, *, rng: random.Random, now: Callable[[], datetime]) -> None:
        self._rng, self._now = rng, now
        self._skew = timedelta(0)

    def skew(self, by: timedelta) -> None:
        """Set the validators' clocks apart from the city's (R71)."""
        self._skew = by

    def pay(self, *moods: Sequence[tuple[str, bytes, int]]) -> Tx:
        """A transaction that pays (asset, address, value) in order, in one of some moods."""
        return self._transaction(self._rng.randbytes(28), moods)

    def outbid(self, tx: Tx, *moods: Sequence[tuple[str, bytes, int]]) -> Tx:
        """Another transaction with the same account and nonce (R63)."""
        (nonce,) = tx.claims
        return self._transaction(nonce, moods, replaces=tx)

    def _transaction(
        self,
        nonce: bytes,
        moods: Sequence[Sequence[tuple[str, bytes, int]]],
        replaces: Tx | None = None,
    ) -> Tx:
        return Tx(
            txid=sha256(nonce + self._rng.randbytes(8)).hexdigest(),
            claims=(nonce,),
            moods=tuple(_pays(mood) for mood in moods),
            born_at=self._now(),
            replaces=replaces,
        )

    def seal(self, parent: Block, txs: Sequence[Tx]) -> Block:
        """A block; each transaction runs in a mood of the block's choosing."""
        mined = tuple(
            (tx, tx.moods[0] if self._rng.random() < 0.6 else self._rng.choice(tx.moods))
            for tx in txs
        )
        return Block(
            height=parent.height + 1,
            hash=sha256(parent.hash.encode() + self._rng.randbytes(8)).hexdigest(),
            parent=parent,
            time=(self._now() + self._skew).replace(microsecond=0),
            mined=mined,
        )


def _pays(mood: Sequence[tuple[str, bytes, int]]) -> tuple[Pay, ...]:
    """Tokens' logs are numbered inside the transaction; the coin moves by the call itself."""
    pays: list[Pay] = []
    ordinal = 0
    for asset, script, value in mood:
        if "/erc20:" in asset:
            pays.append(Pay(position=f"log:{ordinal}", script=script, asset=asset, value=value))
            ordinal += 1
        elif not any(one.position == "call:" for one in pays):
            pays.append(Pay(position="call:", script=script, asset=asset, value=value))
    return tuple(pays)


@dataclass(frozen=True, slots=True)
class SimulatedBlock:
    """A block's payments."""

    ref: BlockRef
    outputs: Sequence[Output]

    @property
    def scripts(self) -> AbstractSet[bytes]:
        return {one.script for one in self.outputs}

    @property
    def spent(self) -> Collection[bytes]:
        return ()

    def outputs_to(self, scripts: AbstractSet[bytes]) -> Sequence[Output]:
        return [one for one in self.outputs if one.script in scripts]

    def spender_of(self, outpoint: bytes) -> str:
        raise KeyError(outpoint)


class SimulatedEvmNode:
    """A node of the model network, behind the scanner's own protocol."""

    def __init__(self, *, network: Network, server: Server) -> None:
        self._network, self._server = network, server
        self.check_chain()

    @property
    def assets(self) -> AbstractSet[str]:
        return frozenset(one.caip19 for one in registry().assets_on(self._network.caip2))

    def wrong_assets(self, assets: Sequence[Asset]) -> Mapping[str, str]:
        return {}

    def check_chain(self) -> None:
        self._server.ask("eth_chainId")
        if self._server.mode == "foreign":
            raise WrongChainError(f"{self._server.name} is on another chain")

    def tip_height(self) -> int:
        self._server.ask("eth_blockNumber")
        if self._server.is_warming_up:
            raise NodeBlindError(f"{self._server.name} is catching up")
        return self._server.best.height

    def block_at(self, height: int) -> BlockRef:
        self._server.ask("eth_getBlockByNumber")
        return _ref(self._block(height))

    def read_blocks(self, first: int, last: int) -> Generator[SimulatedBlock]:
        for height in range(first, last + 1):
            self._server.ask("eth_getBlockReceipts")
            block = self._block(height)
            outputs = [
                Output(
                    txid=tx.txid,
                    position=pay.position,
                    script=pay.script,
                    asset=pay.asset,
                    value=pay.value,
                )
                for tx, pays in block.mined
                for pay in pays
            ]
            yield SimulatedBlock(_ref(block), outputs)

    def final_height(self, tip_height: int, confirmations: int) -> int:
        if confirmations:
            return tip_height - confirmations + 1
        self._server.ask("eth_getBlockByNumber finalized")
        return min(self._server.finalized.height, tip_height)

    def is_orphan(self, block_hash: str) -> bool:
        self._server.ask("eth_getBlockByHash")
        block = self._server.known(block_hash)
        return block is not None and self._server.best.at(block.height) is not block

    def pending(self, waiting: AbstractSet[str]) -> Pending:
        self._server.ask("eth_getTransactionByHash")
        return Pending(txids=frozenset(waiting & self._server.waiting.keys()))

    def _block(self, height: int) -> Block:
        block = self._server.block_at(height)
        if block is None:
            raise NodeUnavailableError(f"{self._server.name} knows no block {height}")
        return block


def _ref(block: Block) -> BlockRef:
    return BlockRef(
        height=block.height, hash=block.hash, parent_hash=block.parent_hash, time=block.time
    )


def chain_of(payers: EvmPayers, rng: random.Random, *, began_at: datetime) -> Chain:
    """An empty chain whose blocks these validators make."""
    first = Block(height=0, hash="e" * 64, parent=None, time=began_at)
    return Chain(genesis=first, rng=rng, seal=payers.seal)
