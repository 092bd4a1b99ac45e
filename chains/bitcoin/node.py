"""A bitcoind: its chain and its mempool over RPC."""

from collections import deque
from collections.abc import Generator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import Any, Final, cast

from chains.assets import Asset, Network
from chains.bitcoin.blocks import (
    BitcoinBlock,
    outputs_of,
    parse_transaction,
    read_header,
    spends_of,
)
from chains.bitcoin.rpc import NOT_FOUND, BitcoinRpc, RpcError
from chains.nodes import (
    BlockRef,
    NodeBlindError,
    NodeContradictionError,
    NodeUnavailableError,
    Output,
    Pending,
    WrongChainError,
    is_on_best_chain,
)

FETCHERS: Final = 4
"""Blocks that are fetched at once in catch-up; bitcoind answers on as many threads by default."""
TRANSACTIONS_A_LOOK: Final = 5_000
"""New mempool transactions that one look reads: the rest of a flood waits for the next."""
BATCH: Final = 200


class BitcoinNode:
    """A connection to one bitcoind; ``looked_at`` only spares work, the database decides."""

    def __init__(self, *, network: Network, coin: Asset, url: str, timeout_s: float = 10.0) -> None:
        """Connect and check the chain; raises NodeUnavailableError, WrongChainError."""
        self.network, self.coin = network, coin
        self.assets = frozenset({coin.caip19})
        self._url, self._timeout_s = url, timeout_s
        self._rpc = self._connection()
        self._looked_at: set[str] = set()
        self.check_chain()

    def check_chain(self) -> None:
        """Raise WrongChainError unless the genesis block is the registry's."""
        network = self.network
        genesis = str(self._rpc.call("getblockhash", 0))
        if genesis[:32] != network.caip2.partition(":")[2]:
            raise WrongChainError(
                f"The node of {network.name} in NETWORKS_FILE is on another chain: its genesis "
                f"is {genesis[:32]}, the registry says {network.caip2}."
            )

    def wrong_assets(self, assets: Sequence[Asset]) -> Mapping[str, str]:
        """None: a chain's own coin is what its genesis block says."""
        return {}

    def tip_height(self) -> int:
        """Height of the best block; NodeBlindError while headers run ahead of blocks."""
        seen = self._rpc.call("getblockchaininfo")
        if seen["initialblockdownload"] or seen["headers"] > seen["blocks"] + 1:
            raise NodeBlindError(
                f"The node of {self.network.name} is catching up: block {seen['blocks']} "
                f"of {seen['headers']}."
            )
        return int(seen["blocks"])

    def block_at(self, height: int) -> BlockRef:
        """The block at ``height`` of the best chain."""
        block_hash = self._rpc.call("getblockhash", height)
        ref = read_header(
            _bytes(self._rpc.call("getblockheader", block_hash, False)), height=height
        )
        if ref.hash != block_hash:
            raise NodeContradictionError(
                f"{self.network.name}: header and hash differ at {height}."
            )
        return ref

    def read_blocks(self, first: int, last: int) -> Generator[BitcoinBlock]:
        """The blocks from ``first`` to ``last``, fetched side by side, given in order."""
        heights = range(first, last + 1)
        hashes = self._rpc.batch("getblockhash", [[height] for height in heights])
        if len(heights) == 1:
            yield self._read(self._rpc, first, hashes[0])
            return
        connections = [self._connection() for _ in range(min(FETCHERS, len(heights)))]
        with ThreadPoolExecutor(len(connections)) as fetchers:
            asked = zip(heights, hashes, strict=True)
            ahead: deque[Future[BitcoinBlock]] = deque(
                fetchers.submit(self._read, connection, *next(asked)) for connection in connections
            )
            try:
                for number in range(len(heights)):
                    block = ahead.popleft().result()
                    # This one's connection is free again: in turns, each holds one block at most.
                    following = next(asked, None)
                    if following is not None:
                        connection = connections[number % len(connections)]
                        ahead.append(fetchers.submit(self._read, connection, *following))
                    yield block
            finally:
                fetchers.shutdown(cancel_futures=True)
                for connection in connections:
                    connection.close()

    def final_height(self, tip_height: int, confirmations: int) -> int:
        """The height that has a number of confirmations under ``tip_height``."""
        return tip_height - max(1, confirmations) + 1

    def follows(self, height: int, block_hash: str) -> bool:
        """Whether a block is on the node's best chain."""
        return is_on_best_chain(self, height, block_hash)

    def is_orphan(self, block_hash: str) -> bool:
        """Whether the node has the block's header and counts it off its best chain."""
        try:
            header = self._rpc.call("getblockheader", block_hash)
        except RpcError as error:
            if error.code == NOT_FOUND:
                return False
            raise
        return int(header["confirmations"]) < 0

    def pending(self, waiting: AbstractSet[str]) -> Pending:
        """The mempool; outputs and inputs of transactions not taken from this connection yet."""
        txids = frozenset(self._rpc.call("getrawmempool"))
        fresh = list(islice(txids - self._looked_at, TRANSACTIONS_A_LOOK))
        outputs: list[Output] = []
        spent: dict[bytes, str] = {}
        read: set[str] = set()
        for start in range(0, len(fresh), BATCH):
            asked = fresh[start : start + BATCH]
            raws = self._rpc.batch_found("getrawtransaction", [[txid] for txid in asked])
            for txid, raw in zip(asked, raws, strict=True):
                if raw is None:
                    continue  # it left the mempool since
                read.add(txid)
                tx = parse_transaction(_bytes(raw))
                outputs.extend(outputs_of(tx, asset=self.coin.caip19))
                spent |= spends_of(tx)

        def taken() -> None:
            self._looked_at = (self._looked_at & txids) | read

        return Pending(txids=txids, outputs=outputs, spent=spent, taken=taken)

    def _read(self, connection: BitcoinRpc, height: int, block_hash: object) -> BitcoinBlock:
        raw = _bytes(connection.call("getblock", block_hash, 0))
        ref = read_header(raw, height=height)
        if ref.hash != block_hash:
            raise NodeContradictionError(f"{self.network.name}: block and hash differ at {height}.")
        return BitcoinBlock(raw, ref=ref, asset=self.coin.caip19)

    def _connection(self) -> BitcoinRpc:
        return BitcoinRpc(url=self._url, name=self.network.name, timeout_s=self._timeout_s)


def _bytes(text: Any) -> bytes:  # noqa: ANN401 -- JSON
    try:
        return bytes.fromhex(cast("str", text))
    except (ValueError, TypeError):
        raise NodeUnavailableError("The Bitcoin node sent what is no hex.") from None
