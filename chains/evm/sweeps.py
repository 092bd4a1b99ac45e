"""What sweeping asks of an EVM network: balances, a rehearsal, fees, and what became of a hash.

The factory moves what forwarders hold in one call, ``sweep(treasury, token, salts)``, which fails
as a whole: it is rehearsed (``eth_estimateGas``) before it is signed.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from eth_abi.abi import decode, encode
from eth_abi.exceptions import DecodingError
from eth_utils.abi import function_signature_to_4byte_selector
from eth_utils.address import to_canonical_address, to_checksum_address
from eth_utils.crypto import keccak

from chains.assets import Network
from chains.evm.deployment import DELEGATED, code_at
from chains.evm.logs import TRANSFER_TOPIC
from chains.evm.node import EvmNode
from chains.evm.rpc import RpcRefusedError, octets, quantity
from chains.nodes import BlockRef, Node, NodeContradictionError, NodeUnavailableError
from chains.pool import NodePool

Answer = TypeVar("Answer")

SALTS_MAX: Final = 200
"""As many as the factory takes in one call."""
SWEPT_TOPIC: Final = keccak(text="Swept(address,address,uint256)")
NO_TOKEN: Final = "0x" + "00" * 20
REVERTED: Final = 3
"""The error code of a call that the contract itself refused; older nodes say it in words alone."""
REVERTED_WORDS: Final = ("revert", "gas required exceeds", "out of gas", "invalid opcode")


@dataclass(frozen=True, slots=True, kw_only=True)
class Fees:
    """What a unit of gas costs now in wei: the block's base fee, and the tip beside it."""

    base_wei: int
    tip_wei: int

    @property
    def total_wei(self) -> int:
        """What is paid in a block like the last one."""
        return self.base_wei + self.tip_wei


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """That a call would fail; ``reason`` is the node's own words."""

    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Receipt:
    """What a mined transaction came to; ``fee_wei`` is all that its sender paid for it."""

    txid: str
    succeeded: bool
    block: BlockRef
    gas_used: int
    fee_wei: int
    logs: Sequence[Mapping[str, Any]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Fate:
    """What became of a sender's nonce: mined, waiting, unknown, or used by a stranger.

    ``receipt`` is that of the attempt that stands on the best chain. ``waits`` tells that the node
    still means to mine one of them. ``nonce_used`` tells that the final chain is past the nonce.
    """

    receipt: Receipt | None
    is_final: bool
    waits: bool
    nonce_used: bool


def sweep_call(*, treasury: str, token: str | None, salts: Sequence[bytes]) -> bytes:
    """The call data that sweeps forwarders; ``token`` None is the network's own coin."""
    if not 0 < len(salts) <= SALTS_MAX:
        raise ValueError(f"A sweep takes 1 to {SALTS_MAX} forwarders.")
    arguments = encode(
        ["address", "address", "bytes32[]"], [treasury, token or NO_TOKEN, list(salts)]
    )
    return function_signature_to_4byte_selector("sweep(address,address,bytes32[])") + arguments


class SweepChain:
    """One network's nodes, asked the questions of sweeping; every method raises NodeError."""

    def __init__(self, *, network: Network, nodes: NodePool) -> None:
        """Ask nothing yet."""
        self._network, self._nodes = network, nodes

    def final_block(self, *, height_max: int | None = None) -> BlockRef:
        """The last final block, or that of ``height_max`` if it is lower."""
        network = self._network
        final = self._nodes.final_height(self._nodes.tip_height(), network.final_confirmations)
        height = final if height_max is None else min(final, height_max)
        if height < 0:
            raise NodeUnavailableError(f"{network.name} has no final block yet.")
        return self._nodes.block_at(height)

    def balances(self, holders: Sequence[str], *, token: str | None, block: BlockRef) -> list[int]:
        """What some addresses hold at a block, in base units."""
        at = {"blockHash": f"0x{block.hash}"}
        if token is None:
            rows = [[holder, at] for holder in holders]
            return self._ask(
                lambda node: [quantity(one) for one in node.rpc.batch("eth_getBalance", rows)]
            )
        ask = function_signature_to_4byte_selector("balanceOf(address)")
        calls = [[_call(token, ask + encode(["address"], [one])), at] for one in holders]
        return self._ask(
            lambda node: [
                int.from_bytes(octets(one, length=32), "big")
                for one in node.rpc.batch("eth_call", calls)
            ]
        )

    def gas_of(self, *, sender: str, factory: str, data: bytes) -> int | Refusal:
        """Rehearse a call to the factory: the gas that it needs, or why it would fail."""
        call = {**_call(factory, data), "from": sender}

        def rehearse(node: EvmNode) -> int | Refusal:
            try:
                return quantity(node.rpc.call("eth_estimateGas", call))
            except RpcRefusedError as error:
                words = str(error).lower()
                if error.code == REVERTED or any(one in words for one in REVERTED_WORDS):
                    return Refusal(reason=str(error))
                raise

        return self._ask(rehearse)

    def fees(self) -> Fees:
        """What gas costs now. Raises NodeUnavailableError for a network without EIP-1559."""

        def ask(node: EvmNode) -> Fees:
            block = node.rpc.call("eth_getBlockByNumber", "latest", False)
            if not isinstance(block, dict) or "baseFeePerGas" not in block:
                raise NodeUnavailableError(f"{self._network.name} has no base fee (EIP-1559).")
            return Fees(
                base_wei=quantity(block["baseFeePerGas"]),
                tip_wei=quantity(node.rpc.call("eth_maxPriorityFeePerGas")),
            )

        return self._ask(ask)

    def balance_now(self, holder: str) -> int:
        """Wei that an address holds at the tip."""
        return self._ask(lambda node: quantity(node.rpc.call("eth_getBalance", holder, "latest")))

    def next_nonce(self, sender: str) -> int:
        """The nonce after all that the node knows, the waiting ones included."""
        return self._ask(
            lambda node: quantity(node.rpc.call("eth_getTransactionCount", sender, "pending"))
        )

    def send(self, raw: bytes) -> str:
        """Hand a signed transaction to the network; why it was not taken, or an empty text.

        One that the node knows already was taken.
        """

        def hand_over(node: EvmNode) -> str:
            try:
                node.rpc.call("eth_sendRawTransaction", f"0x{raw.hex()}")
            except RpcRefusedError as error:
                words = str(error)
                return "" if "already" in words.lower() else words
            return ""

        return self._ask(hand_over)

    def fate_of(self, *, sender: str, nonce: int, txids: Sequence[str], final: BlockRef) -> Fate:
        """What became of a nonce's attempts, the latest first in ``txids``.

        One node answers all of it: half of an answer from a node that lags would be a lie.
        """

        def ask(node: EvmNode) -> Fate:
            used = node.rpc.call("eth_getTransactionCount", sender, hex(final.height))
            rows = [[f"0x{txid}"] for txid in txids]
            found = zip(txids, node.rpc.batch("eth_getTransactionReceipt", rows), strict=True)
            receipts = [_receipt(txid, one, node) for txid, one in found if one is not None]
            standing = [one for one in receipts if one is not None]
            known = node.rpc.batch("eth_getTransactionByHash", rows)
            return Fate(
                receipt=standing[0] if standing else None,
                is_final=bool(standing) and standing[0].block.height <= final.height,
                waits=any(one is not None and one.get("blockHash") is None for one in known),
                nonce_used=quantity(used) > nonce,
            )

        return self._ask(ask)

    def owners_of(self, treasury: str) -> frozenset[str]:
        """Who can move a treasury's coins by himself, as far as the chain tells (EIP-55 texts).

        The account itself, a contract's ``owner()``, a Safe's ``getOwners()``.
        """

        def ask(node: EvmNode) -> frozenset[str]:
            owners = {to_checksum_address(treasury)}
            for signature, kind in (("owner()", "address"), ("getOwners()", "address[]")):
                said = _view(node, treasury, function_signature_to_4byte_selector(signature))
                try:
                    (value,) = decode([kind], said)
                except DecodingError:
                    continue
                owners |= {to_checksum_address(one) for one in _listed(value)}
            return frozenset(owners)

        return self._ask(ask)

    def is_delegated(self, account: str) -> bool:
        """Whether an account lets a contract act for it (EIP-7702): it may be robbed (R61)."""
        return self._ask(lambda node: code_at(node.rpc, account)).startswith(DELEGATED)

    def _ask(self, question: Callable[[EvmNode], Answer]) -> Answer:
        def of_node(node: Node) -> Answer:
            if not isinstance(node, EvmNode):
                raise TypeError(f"{self._network.name} is no EVM network.")
            return question(node)

        return self._nodes.ask(of_node)


def outflows(
    receipt: Receipt, *, token: str | None, factory: str, treasury: str, holders: Iterable[str]
) -> dict[str, int] | None:
    """Base units that left each holder in a sweep, by the factory's own word; ``token`` None: coin.

    A factory that does not say (``Swept``) is helped out by the token's logs; None for the coin,
    which has none.
    """
    sent = dict.fromkeys(holders, 0)
    of = {bytes(to_canonical_address(holder)): holder for holder in sent}
    moved = bytes(to_canonical_address(token or NO_TOKEN))
    told, logged = dict(sent), dict(sent)
    for entry in receipt.logs:
        topics = [octets(topic, length=32) for topic in entry["topics"]]
        contract = octets(entry["address"], length=20)
        if len(topics) != 3 or topics[1][12:] not in of:
            continue
        holder, value = of[topics[1][12:]], int.from_bytes(octets(entry["data"]), "big")
        if (contract, topics[0]) == (to_canonical_address(factory), SWEPT_TOPIC):
            told[holder] += value if topics[2][12:] == moved else 0
        elif (contract, topics[0]) == (moved, TRANSFER_TOPIC):
            logged[holder] += value if topics[2][12:] == to_canonical_address(treasury) else 0
    if any(told.values()):
        return told
    return logged if token else None


def _receipt(txid: str, said: object, node: EvmNode) -> Receipt | None:
    """A receipt, if its block stands on the node's best chain."""
    if not isinstance(said, dict) or octets(said["transactionHash"]).hex() != txid:
        raise NodeContradictionError("The node sent another transaction's receipt.")
    block = node.block_at(quantity(said["blockNumber"]))
    if octets(said["blockHash"], length=32).hex() != block.hash:
        return None
    gas_used = quantity(said["gasUsed"])
    # OP networks charge for the data that they write to Ethereum beside the gas.
    data_fee_wei = quantity(said.get("l1Fee") or "0x0")
    return Receipt(
        txid=txid,
        succeeded=quantity(said["status"]) == 1,
        block=block,
        gas_used=gas_used,
        fee_wei=gas_used * quantity(said["effectiveGasPrice"]) + data_fee_wei,
        logs=said["logs"],
    )


def _view(node: EvmNode, contract: str, data: bytes) -> bytes:
    try:
        return octets(node.rpc.call("eth_call", _call(contract, data), "latest"))
    except RpcRefusedError:
        return b""


def _listed(value: object) -> Iterable[str]:
    return [value] if isinstance(value, str) else [one for one in value if isinstance(one, str)]  # type: ignore[attr-defined]


def _call(to: str, data: bytes) -> dict[str, str]:
    return {"to": to, "data": f"0x{data.hex()}"}
