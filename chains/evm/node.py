"""An EVM node through web3: a block's own-coin payments and its listed tokens' Transfer logs."""

from collections.abc import Collection, Generator, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

import requests
from eth_utils.address import to_canonical_address
from eth_utils.crypto import keccak
from hexbytes import HexBytes
from web3 import HTTPProvider, Web3
from web3.exceptions import BlockNotFound, TransactionNotFound, Web3Exception

from chains.assets import Asset, Network
from chains.nodes import (
    BlockRef,
    NodeContradictionError,
    NodeUnavailableError,
    Output,
    Pending,
    WrongChainError,
)

TRANSFER_TOPIC: Final = keccak(text="Transfer(address,address,uint256)")
FAILURES: Final = (Web3Exception, requests.RequestException, OSError, ValueError)


class NotKnownError(NodeUnavailableError):
    """The node knows no such block or transaction."""


@dataclass(frozen=True, slots=True)
class EvmBlock:
    """A block's payments, by the address that each one reaches."""

    ref: BlockRef
    outputs: Sequence[Output]

    @property
    def scripts(self) -> AbstractSet[bytes]:
        """Every address that is paid."""
        return {output.script for output in self.outputs}

    @property
    def spent(self) -> Collection[bytes]:
        """None: accounts, not outpoints."""
        return ()

    def outputs_to(self, scripts: AbstractSet[bytes]) -> Sequence[Output]:
        """The payments to some addresses, in the block's order."""
        return [output for output in self.outputs if output.script in scripts]

    def spender_of(self, outpoint: bytes) -> str:
        """Never asked for: ``spent`` is empty."""
        raise KeyError(outpoint)


class EvmNode:
    """A connection to one EVM node; only listed contracts' logs count (R45)."""

    def __init__(
        self, *, network: Network, assets: Sequence[Asset], url: str, timeout_s: float = 10.0
    ) -> None:
        """Connect and check the chain; raises NodeUnavailableError, WrongChainError."""
        self.network = network
        self._coin = next((one.caip19 for one in assets if one.contract is None), None)
        self._tokens: Mapping[bytes, str] = {
            to_canonical_address(one.contract): one.caip19 for one in assets if one.contract
        }
        provider = HTTPProvider(url, request_kwargs={"timeout": timeout_s})
        self._web3 = Web3(provider)
        self.check_chain()

    def check_chain(self) -> None:
        """Raise WrongChainError unless the chain id is the registry's."""
        network = self.network
        chain_id = self._ask("eth_chainId", lambda: self._web3.eth.chain_id)
        if chain_id != network.chain_id:
            raise WrongChainError(
                f"The node of {network.name} in NETWORKS_FILE is on chain {chain_id}, "
                f"the registry says {network.caip2}."
            )

    def tip_height(self) -> int:
        """Height of the latest block."""
        return int(self._ask("eth_blockNumber", lambda: self._web3.eth.block_number))

    def block_at(self, height: int) -> BlockRef:
        """The block at ``height`` of the best chain."""
        block = self._ask("eth_getBlockByNumber", lambda: self._web3.eth.get_block(height))
        return BlockRef(
            height=height,
            hash=bytes(block["hash"]).hex(),
            parent_hash=bytes(block["parentHash"]).hex(),
            time=datetime.fromtimestamp(block["timestamp"], tz=UTC),
        )

    def read_blocks(self, first: int, last: int) -> Generator[EvmBlock]:
        """The blocks from ``first`` to ``last``, in order."""
        for height in range(first, last + 1):
            ref = self.block_at(height)
            yield EvmBlock(ref, self._outputs_of(ref))

    def _outputs_of(self, block: BlockRef) -> Sequence[Output]:
        block_hash = HexBytes(block.hash)
        full = self._ask(
            "eth_getBlockByHash",
            lambda: self._web3.eth.get_block(block_hash, full_transactions=True),
        )
        receipts = (
            self._ask("eth_getBlockReceipts", lambda: self._web3.eth.get_block_receipts(block_hash))
            if full["transactions"]
            else []
        )
        if [tx["hash"] for tx in full["transactions"]] != [
            one["transactionHash"] for one in receipts
        ]:
            raise NodeContradictionError(
                f"{self.network.name}: block and receipts differ at {block.height}."
            )
        outputs: list[Output] = []
        for tx, receipt in zip(full["transactions"], receipts, strict=True):
            if receipt["status"] == 1:  # R46, R59: nothing in a failed transaction counts
                outputs.extend(self._native(tx))
                outputs.extend(self._tokens_of(receipt))
        return outputs

    def final_height(self, tip_height: int, confirmations: int) -> int:
        """The ``finalized`` block's height, or the depth that is asked for (R36)."""
        if confirmations:
            return tip_height - confirmations + 1
        block = self._ask("eth_getBlockByNumber", lambda: self._web3.eth.get_block("finalized"))
        return min(int(block["number"]), tip_height)

    def is_orphan(self, block_hash: str) -> bool:
        """Whether the node has the block and another stands at its height (or none any more)."""
        try:
            block = self._ask(
                "eth_getBlockByHash", lambda: self._web3.eth.get_block(HexBytes(block_hash))
            )
        except NotKnownError:
            return False
        if block["number"] > self.tip_height():
            return True
        return self.block_at(block["number"]).hash != block_hash

    def pending(self, waiting: AbstractSet[str]) -> Pending:
        """Which of some transactions the node still means to mine; it has no list to give."""
        return Pending(txids=frozenset(txid for txid in waiting if self._is_pending(txid)))

    def _is_pending(self, txid: str) -> bool:
        try:
            tx = self._ask(
                "eth_getTransactionByHash", lambda: self._web3.eth.get_transaction(HexBytes(txid))
            )
        except NotKnownError:
            return False
        return tx.get("blockHash") is None

    def _native(self, tx: Mapping[str, Any]) -> Iterator[Output]:
        if self._coin and tx.get("to") and tx["value"] > 0:
            yield Output(
                txid=bytes(tx["hash"]).hex(),
                position="call:",
                script=to_canonical_address(tx["to"]),
                asset=self._coin,
                value=int(tx["value"]),
            )

    def _tokens_of(self, receipt: Mapping[str, Any]) -> Iterator[Output]:
        for ordinal, entry in enumerate(receipt["logs"]):
            asset = self._tokens.get(to_canonical_address(entry["address"]))
            topics, amount = entry["topics"], bytes(entry["data"])
            if (
                asset is None
                or len(topics) != 3
                or bytes(topics[0]) != TRANSFER_TOPIC
                or len(amount) != 32
            ):
                continue
            value = int.from_bytes(amount, "big")
            if value > 0:  # R49: a zero-value transfer is somebody's bait
                yield Output(
                    txid=bytes(receipt["transactionHash"]).hex(),
                    position=f"log:{ordinal}",
                    script=bytes(topics[2])[12:],
                    asset=asset,
                    value=value,
                )

    def _ask(self, method: str, ask: Any) -> Any:  # noqa: ANN401 -- web3's own types are loose
        try:
            return ask()
        except (BlockNotFound, TransactionNotFound):
            raise NotKnownError(f"{self.network.name} knows no such thing.") from None
        except FAILURES as error:
            raise NodeUnavailableError(
                f"The node of {self.network.name} (endpoints in NETWORKS_FILE) does not answer "
                f"{method}: {type(error).__name__}."
            ) from None
