"""A bitcoind: blocks and mempool over its RPC, parsed with python-bitcoinlib."""

import http.client
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Any, Final, cast

from bitcoin.core import CBlock, CBlockHeader, CTransaction, b2lx, x
from bitcoin.core.serialize import SerializationError
from bitcoin.rpc import JSONRPCError, RawProxy

from chains.assets import Asset, Network
from chains.nodes import (
    BlockRef,
    NodeContradictionError,
    NodeUnavailableError,
    Output,
    Pending,
    WrongChainError,
)

COINBASE_MATURITY: Final = 100
VALUE_SAT_MAX: Final = 21_000_000 * 100_000_000
NOT_FOUND: Final = -5


class BitcoinNode:
    """A connection to one bitcoind; ``looked_at`` only spares work, the database decides."""

    has_mempool = True

    def __init__(self, *, network: Network, coin: Asset, url: str, timeout_s: float = 10.0) -> None:
        """Connect and check the chain; raises NodeUnavailableError, WrongChainError."""
        self.network, self.coin = network, coin
        self._rpc = RawProxy(service_url=url, timeout=timeout_s)
        self._looked_at: set[str] = set()
        genesis = self._call("getblockhash", 0)
        if genesis[:32] != network.caip2.partition(":")[2]:
            raise WrongChainError(
                f"The node of {network.name} in NETWORKS_FILE is on another chain: its genesis "
                f"is {genesis[:32]}, the registry says {network.caip2}."
            )

    def tip_height(self) -> int:
        """Height of the best block."""
        return int(self._call("getblockcount"))

    def block_at(self, height: int) -> BlockRef:
        """The block at ``height`` of the best chain."""
        block_hash = self._call("getblockhash", height)
        header = _parse(CBlockHeader, self._call("getblockheader", block_hash, False))
        if b2lx(header.GetHash()) != block_hash:
            raise NodeContradictionError(
                f"{self.network.name}: header and hash differ at {height}."
            )
        return BlockRef(
            height=height,
            hash=block_hash,
            parent_hash=b2lx(header.hashPrevBlock),
            time=datetime.fromtimestamp(header.nTime, tz=UTC),
        )

    def outputs_of(self, block: BlockRef) -> Sequence[Output]:
        """Every output of a block."""
        parsed = _parse(CBlock, self._call("getblock", block.hash, 0))
        return [output for tx in parsed.vtx for output in self._outputs(tx)]

    def final_height(self, tip_height: int) -> int:
        """The height that has the registry's number of confirmations under ``tip_height``."""
        return tip_height - self.network.final_confirmations + 1

    def pending(self) -> Pending:
        """The mempool; outputs of transactions that this connection has not yet looked at."""
        txids = frozenset(self._call("getrawmempool"))
        outputs: list[Output] = []
        for txid in txids - self._looked_at:
            try:
                raw = self._call("getrawtransaction", txid)
            except JSONRPCError as error:
                if error.error["code"] != NOT_FOUND:
                    raise
                continue  # it left the mempool since
            outputs.extend(self._outputs(_parse(CTransaction, raw)))
        self._looked_at = set(txids)
        return Pending(txids=txids, outputs=outputs)

    def _outputs(self, tx: CTransaction) -> Iterator[Output]:
        txid = b2lx(tx.GetTxid())
        maturity = COINBASE_MATURITY if tx.is_coinbase() else 0
        for vout, output in enumerate(tx.vout):
            if 0 < output.nValue <= VALUE_SAT_MAX:
                yield Output(
                    txid=txid,
                    position=f"out:{vout}",
                    script=bytes(output.scriptPubKey),
                    asset=self.coin.caip19,
                    value=output.nValue,
                    maturity=maturity,
                )

    def _call(self, method: str, *params: object) -> Any:  # noqa: ANN401 -- JSON
        try:
            return self._rpc._call(method, *params)  # noqa: SLF001 -- __getattr__ hides the same
        except JSONRPCError:
            raise
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise NodeUnavailableError(
                f"The node of {self.network.name} (endpoints in NETWORKS_FILE) does not answer "
                f"{method}: {type(error).__name__}."
            ) from None


def _parse(kind: type[Any], raw: object) -> Any:  # noqa: ANN401 -- python-bitcoinlib is untyped
    try:
        return kind.deserialize(x(cast("str", raw)))
    except (SerializationError, ValueError, TypeError):
        raise NodeUnavailableError("The Bitcoin node sent bytes that are no block.") from None
