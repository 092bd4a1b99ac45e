"""What an EVM block says about payments: token logs, and the coin's own movements.

Pure readings of a node's JSON. A token payment is a ``Transfer`` log (EIP-20) of a listed contract;
a payment in the coin is a call frame that carried value, or since EIP-7708 a log of the system
address. One network counts its coin in one way only.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from eth_utils.address import to_canonical_address
from eth_utils.crypto import keccak

from chains.evm.rpc import octets, quantity
from chains.nodes import BlockRef, NodeContradictionError, NodeUnavailableError

TRANSFER_TOPIC: Final = keccak(text="Transfer(address,address,uint256)")
COIN_LOGGER: Final = to_canonical_address("0xfffffffffffffffffffffffffffffffffffffffe")
"""EIP-7708: the address in whose name the network logs every movement of its coin."""
GWEI: Final = 10**9
POSITION_MAX: Final = 40
MOVES_VALUE: Final = frozenset({"CALL", "CREATE", "CREATE2", "SELFDESTRUCT"})
"""Call frames that move their value; a DELEGATECALL only repeats that of its caller."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Header:
    """A block's header, and its transactions' hashes in order (hex without 0x)."""

    ref: BlockRef
    bloom: bytes
    txids: tuple[str, ...]
    raw: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Movement:
    """Value that reached an address; a log's place is still to be read off its receipt."""

    txid: str
    position: str
    to: bytes
    asset: str
    value: int
    log_index: int | None = None


def read_header(block: object, *, height: int | None = None) -> Header:
    """Read a block of ``eth_getBlockBy…``. Raises NodeUnavailableError for what is none."""
    if not isinstance(block, dict):
        raise NodeUnavailableError("The node does not have the block.")
    try:
        rows = block["transactions"]
        ref = BlockRef(
            height=quantity(block["number"]),
            hash=octets(block["hash"], length=32).hex(),
            parent_hash=octets(block["parentHash"], length=32).hex(),
            time=datetime.fromtimestamp(quantity(block["timestamp"]), tz=UTC),
        )
        txids = tuple(
            octets(row["hash"] if isinstance(row, dict) else row, length=32).hex() for row in rows
        )
        bloom = octets(block["logsBloom"], length=256)
    except (KeyError, TypeError, OverflowError, OSError):
        raise NodeUnavailableError("The node sent what is no block.") from None
    if height is not None and ref.height != height:
        raise NodeContradictionError(f"Asked for block {height}, the node sent {ref.height}.")
    return Header(ref=ref, bloom=bloom, txids=txids, raw=block)


def bloom_has(bloom: bytes, value: bytes) -> bool:
    """Whether a 2048-bit bloom filter may hold a value (Yellow Paper, 4.4.3); never falsely no."""
    digest = keccak(value)
    for at in (0, 2, 4):
        bit = int.from_bytes(digest[at : at + 2], "big") & 2047
        if not bloom[255 - bit // 8] >> (bit % 8) & 1:
            return False
    return True


def may_log(header: Header, contracts: Mapping[bytes, str]) -> bool:
    """Whether the header admits a Transfer of one of some contracts."""
    return bloom_has(header.bloom, TRANSFER_TOPIC) and any(
        bloom_has(header.bloom, contract) for contract in contracts
    )


def log_movements(
    header: Header, logs: Sequence[Any], contracts: Mapping[bytes, str]
) -> list[Movement]:
    """The payments that a block's logs tell of; ``contracts`` maps listed contracts to assets.

    Raises NodeContradictionError for a log of another block or of no transaction of it (R41).
    """
    found: list[Movement] = []
    known = set(header.txids)
    for entry in logs:
        try:
            txid = octets(entry["transactionHash"], length=32).hex()
            same = octets(entry["blockHash"], length=32).hex() == header.ref.hash
            asset = contracts.get(octets(entry["address"], length=20))
            topics = [octets(topic, length=32) for topic in entry["topics"]]
            data, index = octets(entry["data"]), quantity(entry["logIndex"])
        except (KeyError, TypeError):
            raise NodeUnavailableError("The node sent what is no log.") from None
        if not same or txid not in known or entry.get("removed"):
            raise NodeContradictionError(
                f"A log of block {header.ref.height} belongs to no transaction of it."
            )
        if asset and len(topics) == 3 and topics[0] == TRANSFER_TOPIC and len(data) == 32:
            value = int.from_bytes(data, "big")
            if value > 0:  # R49: a zero-value transfer is somebody's bait
                found.append(
                    Movement(
                        txid=txid,
                        position="",
                        to=topics[2][12:],
                        asset=asset,
                        value=value,
                        log_index=index,
                    )
                )
    return found


def top_level_movements(header: Header, coin: str) -> list[Movement]:
    """What the block's own transactions carry; whether they succeeded, receipts must tell."""
    return [
        Movement(
            txid=octets(row["hash"], length=32).hex(),
            position="call:",
            to=octets(row["to"], length=20),
            asset=coin,
            value=quantity(row["value"]),
        )
        for row in header.raw["transactions"]
        if row.get("to") and quantity(row["value"]) > 0
    ]


def traced_movements(header: Header, traces: object, coin: str) -> list[Movement]:
    """What the call frames of a block moved (``debug_traceBlockByHash``, callTracer).

    A frame that failed, and everything below it, moved nothing (R48, R59). Raises
    NodeUnavailableError, and NodeContradictionError for traces of another block.
    """
    if not isinstance(traces, list) or len(traces) != len(header.txids):
        raise NodeContradictionError(
            f"Block {header.ref.height} and its traces have different transactions."
        )
    found: list[Movement] = []
    for txid, trace in zip(header.txids, traces, strict=True):
        if not isinstance(trace, dict) or "result" not in trace:
            raise NodeUnavailableError("The node could not trace a transaction.")
        if "txHash" in trace and octets(trace["txHash"], length=32).hex() != txid:
            raise NodeContradictionError("The traces stand in another order than the block.")
        found += [
            Movement(txid=txid, position=_position(path), to=to, asset=coin, value=value)
            for path, to, value in _frames(trace["result"])
        ]
    return found


def withdrawal_movements(header: Header, coin: str) -> list[Movement]:
    """What the consensus layer paid out in a block (EIP-4895); an index is used once for ever."""
    return [
        Movement(
            txid=f"withdrawal-{quantity(row['index'])}",
            position="withdrawal:",
            to=octets(row["address"], length=20),
            asset=coin,
            value=quantity(row["amount"]) * GWEI,
        )
        for row in header.raw.get("withdrawals") or ()
        if quantity(row["amount"]) > 0
    ]


def _frames(root: Any) -> Iterator[tuple[str, bytes, int]]:  # noqa: ANN401 -- JSON
    """Every frame that moved value: its path, payee and value in wei."""
    waiting = [("", root)]
    while waiting:
        path, frame = waiting.pop()
        if not isinstance(frame, dict):
            raise NodeUnavailableError("The node sent what is no trace.")
        if frame.get("error"):
            continue
        value = quantity(frame.get("value") or "0x0")
        if value > 0 and frame.get("type") in MOVES_VALUE and frame.get("to"):
            yield path, octets(frame["to"], length=20), value
        for number, below in enumerate(frame.get("calls") or ()):
            waiting.append((f"{path}.{number}" if path else str(number), below))


def _position(path: str) -> str:
    position = f"call:{path}"
    if len(position) <= POSITION_MAX:
        return position
    return f"call:#{keccak(text=path).hex()[: POSITION_MAX - 6]}"
