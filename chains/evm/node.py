"""An EVM node: its chain, its listed tokens' logs and its coin's movements."""

from collections.abc import Collection, Generator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import Any, Final

from eth_utils.address import to_canonical_address

from chains.assets import Asset, NativeMode, Network
from chains.evm.blocks import (
    COIN_LOGGER,
    TRANSFER_TOPIC,
    Header,
    Movement,
    log_movements,
    may_log,
    read_header,
    top_level_movements,
    traced_movements,
    withdrawal_movements,
)
from chains.evm.deployment import check_deployment, wrong_decimals
from chains.evm.rpc import EvmRpc, RpcRefusedError, octets, quantity
from chains.nodes import (
    BlockRef,
    NodeBlindError,
    NodeContradictionError,
    NodeUnavailableError,
    Output,
    Pending,
    WrongChainError,
)

TXID_DIGITS: Final = 64
RANGE_MAX: Final = 500
"""Blocks whose headers and logs are asked for together in catch-up, where the node allows it."""


class EvmBlock:
    """A block's payments; receipts are asked for only once an address of ours is among them."""

    def __init__(
        self, header: Header, logged: Sequence[Movement], moved: Sequence[Movement], rpc: EvmRpc
    ) -> None:
        """``logged`` wait for their receipts, and ``moved`` for their transaction's success."""
        self.header, self._rpc = header, rpc
        self._movements = [*logged, *moved]

    @property
    def ref(self) -> BlockRef:
        """The block's place."""
        return self.header.ref

    @property
    def scripts(self) -> AbstractSet[bytes]:
        """Every address that is paid, as 20 bytes."""
        return {movement.to for movement in self._movements}

    @property
    def spent(self) -> Collection[bytes]:
        """None: accounts, not outpoints."""
        return ()

    def spender_of(self, outpoint: bytes) -> str:
        """Never asked for: ``spent`` is empty."""
        raise KeyError(outpoint)

    def outputs_to(self, scripts: AbstractSet[bytes]) -> Sequence[Output]:
        """The payments to some addresses in transactions that succeeded (R46, R59).

        Raises NodeError: the receipts are asked for now.
        """
        wanted = [movement for movement in self._movements if movement.to in scripts]
        mined = {one.txid for one in wanted} & set(self.header.txids)
        receipts = self._receipts(sorted(mined))
        return [
            Output(
                txid=one.txid,
                position=one.position or _log_position(one, receipts[one.txid]),
                script=one.to,
                asset=one.asset,
                value=one.value,
            )
            for one in wanted
            if one.txid not in receipts or quantity(receipts[one.txid]["status"]) == 1
        ]

    def _receipts(self, txids: Sequence[str]) -> dict[str, Any]:
        rows = [[f"0x{txid}"] for txid in txids]
        receipts = dict(zip(txids, self._rpc.batch("eth_getTransactionReceipt", rows), strict=True))
        for txid, receipt in receipts.items():
            if (
                not isinstance(receipt, dict)
                or octets(receipt.get("blockHash"), length=32).hex() != self.ref.hash
            ):
                raise NodeContradictionError(
                    f"The receipt of {txid} is not of block {self.ref.height}."
                )
        return receipts


def _log_position(movement: Movement, receipt: Mapping[str, Any]) -> str:
    """A log's place inside its receipt: unlike its index in the block, it survives a reorg."""
    for ordinal, entry in enumerate(receipt["logs"]):
        if quantity(entry["logIndex"]) == movement.log_index:
            to, value = octets(entry["topics"][2]), octets(entry["data"])
            if to[12:] == movement.to and int.from_bytes(value, "big") == movement.value:
                return f"log:{ordinal}"
    raise NodeContradictionError(f"The receipt of {movement.txid} does not hold its log.")


class EvmNode:
    """A connection to one EVM node; only listed contracts' logs count (R45)."""

    def __init__(
        self, *, network: Network, assets: Sequence[Asset], url: str, timeout_s: float = 10.0
    ) -> None:
        """Connect; check the chain, and the contracts that our addresses are computed for.

        Raises NodeUnavailableError, WrongChainError, WrongContractsError.
        """
        self.network = network
        self.assets = frozenset(asset.caip19 for asset in assets)
        self._coin = next((one.caip19 for one in assets if one.contract is None), None)
        self._contracts: dict[bytes, str] = {
            to_canonical_address(one.contract): one.caip19 for one in assets if one.contract
        }
        if self._coin and network.native is NativeMode.LOGS:
            self._contracts[COIN_LOGGER] = self._coin
        self._range = RANGE_MAX
        self._rpc = self._connection(url=url, timeout_s=timeout_s)
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
        """Tokens whose contract does not say the registry's decimals (R54)."""
        return wrong_decimals(rpc=self._rpc, assets=assets)

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
            end = min(last, height + self._range - 1)
            headers = self._headers(height, end)
            logs = self._logs(headers)
            if logs is None:
                continue  # the range was too wide, and is narrower now
            for header in headers:
                yield self._block(header, logs.get(header.ref.height, []))
            height = end + 1

    def final_height(self, tip_height: int, confirmations: int) -> int:
        """The ``finalized`` block's height, or the depth that is asked for (R36)."""
        if confirmations:
            return tip_height - confirmations + 1
        block = self._rpc.call("eth_getBlockByNumber", "finalized", False)
        # A young chain has finalised nothing yet.
        return min(read_header(block).ref.height, tip_height) if block else -1

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
        return EvmRpc(url=url, name=self.network.name, timeout_s=timeout_s)

    @property
    def _full(self) -> bool:
        return bool(self._coin) and self.network.native is NativeMode.CALLS

    def _header(self, height: int) -> Header:
        block = self._rpc.call("eth_getBlockByNumber", hex(height), self._full)
        return read_header(block, height=height)

    def _headers(self, first: int, last: int) -> list[Header]:
        if first == last:
            return [self._header(first)]
        rows = [[hex(height), self._full] for height in range(first, last + 1)]
        blocks = self._rpc.batch("eth_getBlockByNumber", rows)
        return [
            read_header(block, height=height)
            for height, block in zip(range(first, last + 1), blocks, strict=True)
        ]

    def _logs(self, headers: Sequence[Header]) -> dict[int, list[Any]] | None:
        """The listed contracts' Transfer logs by height; None where the range was too wide (R39).

        One block is asked for by its hash, so that a provider that lags cannot answer for another.
        """
        if not self._contracts or not any(may_log(one, self._contracts) for one in headers):
            return {}
        query: dict[str, Any] = {
            "address": [f"0x{contract.hex()}" for contract in self._contracts],
            "topics": [f"0x{TRANSFER_TOPIC.hex()}"],
        }
        if len(headers) == 1:
            query["blockHash"] = f"0x{headers[0].ref.hash}"
        else:
            query["fromBlock"] = hex(headers[0].ref.height)
            query["toBlock"] = hex(headers[-1].ref.height)
        try:
            logs = self._rpc.call("eth_getLogs", query)
        except RpcRefusedError:
            if len(headers) == 1:
                raise
            self._range = max(1, len(headers) // 2)
            return None
        if not isinstance(logs, list):
            raise NodeUnavailableError(f"The node of {self.network.name} sent no list of logs.")
        by_height: dict[int, list[Any]] = {}
        for entry in logs:
            by_height.setdefault(quantity(entry.get("blockNumber")), []).append(entry)
        return by_height

    def _block(self, header: Header, logs: Sequence[Any]) -> EvmBlock:
        if not logs and self._contracts and may_log(header, self._contracts):
            # The header admits a log and the node knows none: let the receipts decide (R40).
            logs = self._logs_of_receipts(header)
        logged = log_movements(header, logs, self._contracts)
        return EvmBlock(header, logged, self._coin_movements(header), self._rpc)

    def _logs_of_receipts(self, header: Header) -> list[Any]:
        receipts = self._rpc.call("eth_getBlockReceipts", f"0x{header.ref.hash}")
        if not isinstance(receipts, list) or len(receipts) != len(header.txids):
            raise NodeContradictionError(
                f"{self.network.name}: block {header.ref.height} and its receipts differ."
            )
        return [
            entry
            for receipt in receipts
            for entry in receipt["logs"]
            if octets(entry["address"], length=20) in self._contracts
        ]

    def _coin_movements(self, header: Header) -> list[Movement]:
        if not self._coin:
            return []
        match self.network.native:
            case NativeMode.LOGS:
                return []
            case NativeMode.CALLS:
                return top_level_movements(header, self._coin)
            case NativeMode.TRACES:
                moved = withdrawal_movements(header, self._coin)
                if header.txids:
                    traces = self._rpc.call(
                        "debug_traceBlockByHash",
                        f"0x{header.ref.hash}",
                        {"tracer": "callTracer"},
                    )
                    moved += traced_movements(header, traces, self._coin)
                return moved
