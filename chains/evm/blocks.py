"""An EVM block's header, and what its bloom filter tells of its logs."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from eth_utils.crypto import keccak

from chains.evm.rpc import octets, quantity
from chains.nodes import BlockRef, NodeContradictionError, NodeUnavailableError


@dataclass(frozen=True, slots=True, kw_only=True)
class Header:
    """A block's header, and its transactions' hashes in order (hex without 0x)."""

    ref: BlockRef
    bloom: bytes
    txids: tuple[str, ...]
    raw: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class LogEntry:
    """One log: where it stands in its block, which contract wrote it, and what it says."""

    index: int
    contract: bytes
    topics: tuple[bytes, ...]
    data: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Movement:
    """Value that reached an address, or that a sweep took from it (20 bytes).

    The ``position`` of a log is still to be read off its receipt.
    """

    txid: str
    position: str
    address: bytes
    asset: str
    value: int
    log: LogEntry | None = None


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


def may_log(header: Header, contracts: Iterable[bytes], topics: Iterable[bytes]) -> bool:
    """Whether the header admits a log of some contracts with one of some topics."""
    return any(bloom_has(header.bloom, topic) for topic in topics) and any(
        bloom_has(header.bloom, contract) for contract in contracts
    )
