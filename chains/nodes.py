"""What a scanner asks of a node, whatever the kind of network."""

from collections.abc import Callable, Collection, Generator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Final, Protocol

from chains.assets import Asset


class NodeError(Exception):
    """A node cannot be used now; the message names the setting and shows no credentials."""


class NodeUnavailableError(NodeError):
    """No answer, or one that is not an answer."""


class NodeBlindError(NodeUnavailableError):
    """The node answers but does not see the chain's end yet: it starts or catches up (R15)."""


class NodeBusyError(NodeUnavailableError):
    """The node wants to be asked less often, and maybe said from when on it answers again."""

    def __init__(self, message: str, *, retry_after_s: float = 0.0) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


UNREADABLE: Final = (
    LookupError,
    TypeError,
    ValueError,
    AttributeError,
    ArithmeticError,
    RecursionError,
)
"""What reading an answer of another shape raises: that node's fault, and another may be asked."""


class WrongChainError(NodeError):
    """The node speaks for another network than the registry says (R18, R43)."""


class WrongContractsError(NodeError):
    """The contracts on chain are not those that our addresses are computed for."""


class NodeContradictionError(NodeError):
    """The node's answers do not fit each other (R41)."""


class BlockPrunedError(NodeError):
    """The node has thrown away a block that was not scanned yet: stop, never skip (R17)."""


def words_of(said: object, *, chars_max: int) -> str:
    """What a node said in words, fit to be stored and shown: printable, and not long."""
    return "".join(one if one.isprintable() else " " for one in str(said)[:chars_max])


@dataclass(frozen=True, slots=True, kw_only=True)
class BlockRef:
    """A block's place in its chain; hashes are lower-case hex without 0x, ``time`` is UTC."""

    height: int
    hash: str
    parent_hash: str
    time: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Output:
    """Value sent to a script or address; ``position`` tells it from others of its transaction.

    ``spends`` are the outpoints that the transaction spends: another that spends one of them
    takes its place.
    """

    txid: str
    position: str
    script: bytes
    asset: str
    value: int
    maturity: int = 0
    spends: tuple[bytes, ...] = ()


class NoticeKind(StrEnum):
    """What the issuer of a token did to it, or to an account that holds it (R56)."""

    UPGRADED = "upgraded"
    PAUSED = "paused"
    RESUMED = "resumed"
    BLOCKED = "blocked"
    UNBLOCKED = "unblocked"
    DESTROYED = "destroyed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Notice:
    """Something in a block that people should know of; ``script`` is the account it is about."""

    kind: NoticeKind
    asset: str
    txid: str
    detail: str
    script: bytes | None = None


class BlockContent(Protocol):
    """A block's payments, worked out no further than they are asked for."""

    @property
    def ref(self) -> BlockRef:
        """The block's place; its parent's hash is part of what the node said."""

    @property
    def scripts(self) -> AbstractSet[bytes]:
        """Every script or address that the block pays, sweeps or gives notice of."""

    @property
    def spent(self) -> Collection[bytes]:
        """Every outpoint that the block spends; empty where a network has none."""

    def outputs_to(self, scripts: AbstractSet[bytes]) -> Sequence[Output]:
        """The outputs that pay some scripts, in the block's order."""

    def outflows_from(self, scripts: AbstractSet[bytes]) -> Sequence[Output]:
        """What sweeps took from some addresses; ``script`` is the one that it left."""

    @property
    def notices(self) -> Sequence[Notice]:
        """What issuers did to the assets that the block was read for."""

    @property
    def untraced(self) -> AbstractSet[str]:
        """Transactions of which only what they carry themselves is known, not what they called."""

    def spender_of(self, outpoint: bytes) -> str:
        """The txid that spends one of ``spent``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pending:
    """What waits in the node's mempool.

    ``txids`` holds all of them (of those asked about, where a node has no list to give);
    ``outputs`` and ``spent`` (outpoint to txid) are those not taken before. Call ``taken`` once
    they are stored for good: until then they are handed out again.
    """

    txids: AbstractSet[str]
    outputs: Sequence[Output] = ()
    spent: Mapping[bytes, str] = field(default_factory=dict)
    taken: Callable[[], None] = lambda: None


class Node(Protocol):
    """One node of one network, or several that are asked as one.

    Every method raises NodeError when it cannot answer.
    """

    @property
    def assets(self) -> AbstractSet[str]:
        """The CAIP-19 ids of the assets that its blocks are read for."""

    def wrong_assets(self, assets: Sequence[Asset]) -> Mapping[str, str]:
        """Those of some assets that are not what they should be on chain, and why (R52, R54)."""

    def tip_height(self) -> int:
        """Height of the best block; NodeBlindError while the node does not see the chain's end."""

    def block_at(self, height: int) -> BlockRef:
        """The block at a height of the best chain."""

    def read_blocks(self, first: int, last: int) -> Generator[BlockContent]:
        """The blocks of the best chain from ``first`` to ``last``, in order, as they are wanted."""

    def final_height(self, tip_height: int, confirmations: int) -> int:
        """The height up to which blocks are final; 0 confirmations leave it to the network."""

    def check_chain(self) -> None:
        """Raise WrongChainError unless the node still speaks for its network."""

    def is_orphan(self, block_hash: str) -> bool:
        """Whether the node knows a block and knows it to be off its best chain."""

    def follows(self, height: int, block_hash: str) -> bool:
        """Whether a block is on the best chain; of several nodes, on any's."""

    def pending(self, waiting: AbstractSet[str]) -> Pending:
        """What waits to be mined, of which the caller already knows the txids ``waiting``."""


def is_on_best_chain(node: Node, height: int, block_hash: str) -> bool:
    """Whether a node's block at a height is this one."""
    return node.tip_height() >= height and node.block_at(height).hash == block_hash
