"""What a scanner asks of a node, whatever the kind of network."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol


class NodeError(Exception):
    """A node cannot be used now; the message names the setting and shows no credentials."""


class NodeUnavailableError(NodeError):
    """No answer, or one that is not an answer."""


class WrongChainError(NodeError):
    """The node speaks for another network than the registry says (R18, R43)."""


class NodeContradictionError(NodeError):
    """The node's answers do not fit each other (R41)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BlockRef:
    """A block's place in its chain; hashes are lower-case hex without 0x, ``time`` is UTC."""

    height: int
    hash: str
    parent_hash: str
    time: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Output:
    """Value sent to a script or address; ``position`` tells it from others of its transaction."""

    txid: str
    position: str
    script: bytes
    asset: str
    value: int
    maturity: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Pending:
    """What waits in the node's mempool: all its txids, and the outputs not handed out before."""

    txids: frozenset[str]
    outputs: Sequence[Output]


class Node(Protocol):
    """One node of one network; every method raises NodeError when it cannot answer."""

    has_mempool: bool

    def tip_height(self) -> int:
        """Height of the best block."""

    def block_at(self, height: int) -> BlockRef:
        """The block at a height of the best chain."""

    def outputs_of(self, block: BlockRef) -> Sequence[Output]:
        """Every output of a block that could pay somebody, in order."""

    def final_height(self, tip_height: int) -> int:
        """The height up to which blocks are final by the network's policy."""

    def pending(self) -> Pending | None:
        """The mempool, or None where the network is watched by blocks alone."""
