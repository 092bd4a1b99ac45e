"""An EVM node: its chain, its listed tokens' logs and its coin's movements."""

from collections.abc import Generator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import Any, Final

from eth_utils.address import to_canonical_address

from chains.assets import Asset, NativeMode, Network
from chains.evm.blocks import Header, Movement, may_log, read_header
from chains.evm.content import EvmBlock
from chains.evm.deployment import check_deployment, wrong_tokens
from chains.evm.limits import ProviderLimits
from chains.evm.logs import COIN_LOGGER, TOPICS, Watched, read_logs
from chains.evm.native import top_level_movements, withdrawal_movements
from chains.evm.rpc import METHOD_NOT_FOUND, EvmRpc, RpcRefusedError, octets, quantity
from chains.evm.tokens import coin_balances
from chains.evm.tracing import Traced, Tracer
from chains.nodes import (
    BlockRef,
    NodeBlindError,
    NodeBusyError,
    NodeContradictionError,
    NodeUnavailableError,
    Pending,
    WrongChainError,
    is_on_best_chain,
)

TXID_DIGITS: Final = 64
CUT_OFF: Final = 1_000
"""Providers that cut long answers without a word do so at a multiple of this."""


class EvmNode:
    """A connection to one EVM node; only listed contracts' logs count (R45)."""

    def __init__(
        self,
        *,
        network: Network,
        assets: Sequence[Asset],
        url: str,
        timeout_s: float = 10.0,
        limits: ProviderLimits | None = None,
    ) -> None:
        """Connect; check the chain, and the contracts that our addresses are computed for.

        ``limits`` are what is known of the provider, and learn more. Raises NodeUnavailableError,
        WrongChainError, WrongContractsError.
        """
        self.network = network
        self.assets = frozenset(asset.caip19 for asset in assets)
        self._coin = next((one.caip19 for one in assets if one.contract is None), None)
        self._watched = _watched(network, assets, self._coin)
        self._fee_tokens = {
            one.caip19: one.contract for one in assets if one.contract and one.fee_on_transfer
        }
        self._limits = limits or ProviderLimits()
        self._rpc = self._connection(url=url, timeout_s=timeout_s)
        self._tracer = Tracer(self._rpc)
        self.check_chain()
        if network.factory:
            check_deployment(rpc=self._rpc, network=network)

    @property
    def rpc(self) -> EvmRpc:
        """The connection, for questions that no scanner asks."""
        return self._rpc

    def check_chain(self) -> None:
        """Raise WrongChainError unless the chain id is the registry's."""
        chain_id = quantity(self._rpc.call("eth_chainId"))
        if chain_id != self.network.chain_id:
            raise WrongChainError(
                f"The node of {self.network.name} in NETWORKS_FILE is on chain {chain_id}, "
                f"the registry says {self.network.caip2}."
            )

    def wrong_assets(self, assets: Sequence[Asset]) -> Mapping[str, str]:
        """Tokens whose contract is not what the registry says (R54), or cannot be listed (R52)."""
        return wrong_tokens(rpc=self._rpc, assets=assets)

    def tip_height(self) -> int:
        """Height of the latest block; NodeBlindError while the node syncs."""
        syncing = self._rpc.call("eth_syncing")
        if syncing:
            raise NodeBlindError(f"The node of {self.network.name} is catching up.")
        return quantity(self._rpc.call("eth_blockNumber"))

    def block_at(self, height: int) -> BlockRef:
        """The block at ``height`` of the best chain."""
        return self._header(height).ref

    def read_blocks(self, first: int, last: int) -> Generator[EvmBlock]:
        """The blocks from ``first`` to ``last``, in order; several are asked for together."""
        height = first
        while height <= last:
            end = min(last, height + self._limits.blocks.size - 1)
            headers = self._headers(height, end)
            logs = self._logs(headers)
            if logs is None:
                continue  # the range was too wide, and is narrower now
            for header in headers:
                yield self._block(header, logs.get(header.ref.height, []))
            height = end + 1

    def final_height(self, tip_height: int, confirmations: int) -> int:
        """The height of the network's own ``finalized`` or ``safe`` block, or the depth (R36)."""
        if confirmations:
            return tip_height - confirmations + 1
        block = self._rpc.call("eth_getBlockByNumber", self.network.final_tag.value, False)
        # A young chain has finalised nothing yet.
        return min(read_header(block).ref.height, tip_height) if block else -1

    def coin_balances(self, accounts: Sequence[bytes], *, block: BlockRef) -> list[int]:
        """Wei that accounts (20 bytes) hold at a block; NodeUnavailableError once that is gone."""
        return coin_balances(
            self._rpc, accounts, factory=self.network.factory, block_hash=block.hash
        )

    def codes_of(self, accounts: Sequence[bytes]) -> list[bytes]:
        """The code of accounts (20 bytes) at the best block; empty for one without."""
        rows = [[f"0x{account.hex()}", "latest"] for account in accounts]
        return [octets(code) for code in self._rpc.batch("eth_getCode", rows)]

    def follows(self, height: int, block_hash: str) -> bool:
        """Whether a block is on the node's best chain."""
        return is_on_best_chain(self, height, block_hash)

    def is_orphan(self, block_hash: str) -> bool:
        """Whether the node has the block and another stands at its height (or none any more)."""
        block = self._rpc.call("eth_getBlockByHash", f"0x{block_hash}", False)
        if block is None:
            return False
        height = read_header(block).ref.height
        return height > self.tip_height() or self.block_at(height).hash != block_hash

    def pending(self, waiting: AbstractSet[str]) -> Pending:
        """Which of some transactions the node still means to mine; it has no list to give."""
        # What the consensus layer paid has a name of its own, and no mempool.
        txids = sorted(txid for txid in waiting if len(txid) == TXID_DIGITS)
        rows = self._rpc.batch("eth_getTransactionByHash", [[f"0x{txid}"] for txid in txids])
        return Pending(
            txids=frozenset(
                txid
                for txid, row in zip(txids, rows, strict=True)
                if isinstance(row, dict) and row.get("blockHash") is None
            )
        )

    def _connection(self, *, url: str, timeout_s: float) -> EvmRpc:
        return EvmRpc(
            url=url, name=self.network.name, timeout_s=timeout_s, batch=self._limits.batch
        )

    def _header(self, height: int) -> Header:
        full = self._coin is not None and self.network.native is NativeMode.CALLS
        block = self._rpc.call("eth_getBlockByNumber", hex(height), full)
        return read_header(block, height=height)

    def _headers(self, first: int, last: int) -> list[Header]:
        if first == last:
            return [self._header(first)]
        heights = range(first, last + 1)
        blocks = self._rpc.batch("eth_getBlockByNumber", [[hex(at), False] for at in heights])
        return [read_header(block, height=at) for at, block in zip(heights, blocks, strict=True)]

    def _logs(self, headers: Sequence[Header]) -> dict[int, list[Any]] | None:
        """The watched contracts' logs by height; None where the range was too wide (R39).

        One block is asked for by its hash, so that a provider that lags cannot answer for another.
        """
        if not self._watched.addresses:
            return {}
        query: dict[str, Any] = {
            "address": [f"0x{contract.hex()}" for contract in self._watched.addresses],
            "topics": [[f"0x{topic.hex()}" for topic in TOPICS]],
        }
        if len(headers) == 1:
            query["blockHash"] = f"0x{headers[0].ref.hash}"
        else:
            query["fromBlock"] = hex(headers[0].ref.height)
            query["toBlock"] = hex(headers[-1].ref.height)
        logs = self._logs_for(query, len(headers))
        if logs is None:
            return None
        by_height: dict[int, list[Any]] = {}
        for entry in logs:
            by_height.setdefault(quantity(entry.get("blockNumber")), []).append(entry)
        return by_height

    def _logs_for(self, query: dict[str, Any], blocks: int) -> list[Any] | None:
        limit = self._limits.blocks
        try:
            logs = self._rpc.call("eth_getLogs", query)
        except NodeBusyError:
            raise
        except RpcRefusedError:
            limit.refuse(blocks)
            if blocks == 1:
                raise
            return None
        except NodeUnavailableError:
            limit.refuse(blocks)  # a range that takes too long is answered by nobody
            raise
        if not isinstance(logs, list) or not all(isinstance(one, dict) for one in logs):
            raise NodeUnavailableError(f"The node of {self.network.name} sent no list of logs.")
        if blocks > 1 and logs and len(logs) % CUT_OFF == 0:
            limit.refuse(blocks)  # it looks like an answer that was cut off
            return None
        limit.allow(blocks)
        return logs

    def _block(self, header: Header, logs: Sequence[Any]) -> EvmBlock:
        if not logs and may_log(header, self._watched.addresses, TOPICS):
            # The header admits a log and the node knows none: let the receipts decide (R40).
            logs = self._logs_of_receipts(header)
        said = read_logs(header, logs, self._watched)
        traced = self._coin_movements(header)
        return EvmBlock(header, said, traced, self._rpc, self._fee_tokens)

    def _logs_of_receipts(self, header: Header) -> list[Any]:
        return [
            entry
            for receipt in self._receipts_of(header)
            for entry in receipt["logs"]
            if octets(entry["address"], length=20) in self._watched.addresses
        ]

    def _receipts_of(self, header: Header) -> list[Any]:
        try:
            receipts = self._rpc.call("eth_getBlockReceipts", f"0x{header.ref.hash}")
        except RpcRefusedError as error:
            if error.code != METHOD_NOT_FOUND:
                raise
            rows = [[f"0x{txid}"] for txid in header.txids]
            receipts = self._rpc.batch("eth_getTransactionReceipt", rows)
        if (
            not isinstance(receipts, list)
            or not all(isinstance(one, dict) for one in receipts)
            or [octets(one.get("transactionHash")).hex() for one in receipts] != [*header.txids]
        ):
            raise NodeContradictionError(
                f"{self.network.name}: block {header.ref.height} and its receipts differ."
            )
        return receipts

    def _coin_movements(self, header: Header) -> Traced:
        coin = self._coin
        if coin is None or self.network.native is NativeMode.BALANCES:
            return Traced(moved=())
        moved = withdrawal_movements(header, coin)
        match self.network.native:
            case NativeMode.LOGS:
                return Traced(moved=moved)
            case NativeMode.CALLS:
                moved += top_level_movements(self._transactions_of(header), coin)
                return Traced(moved=moved)
            case NativeMode.TRACES:
                return self._traced(header, coin, moved)

    def _traced(self, header: Header, coin: str, moved: list[Movement]) -> Traced:
        """By traces; of a transaction that cannot be traced, what it carries itself."""
        traced = self._tracer.trace(header, coin)
        if traced.untraced:
            rows = zip(header.txids, self._transactions_of(header), strict=True)
            some = [row for txid, row in rows if txid in traced.untraced]
            moved = [*moved, *top_level_movements(some, coin)]
        return Traced(moved=[*moved, *traced.moved], untraced=traced.untraced)

    def _transactions_of(self, header: Header) -> Sequence[Any]:
        rows: Sequence[Any] = header.raw["transactions"]
        if all(isinstance(row, dict) for row in rows):
            return rows
        full = self._rpc.call("eth_getBlockByHash", f"0x{header.ref.hash}", True)
        if read_header(full).txids != header.txids:
            raise NodeContradictionError(f"Block {header.ref.height} has two sets of transactions.")
        return list(full["transactions"])


def _watched(network: Network, assets: Sequence[Asset], coin: str | None) -> Watched:
    contracts: dict[bytes, str] = {
        to_canonical_address(one.contract): one.caip19 for one in assets if one.contract
    }
    if coin and network.native is NativeMode.LOGS:
        contracts[COIN_LOGGER] = coin
    factory = to_canonical_address(network.factory) if network.factory else None
    return Watched(contracts=contracts, factory=factory, coin=coin)
