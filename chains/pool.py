"""Several nodes of one network, asked as one.

The first node in the registry's order that answers, and is not behind the others, speaks for the
network; a failing one is left alone for a while that doubles. Blocks count as final only as deep as
every answering node agrees (R19). The chain is checked at every connect and again at every round of
health (R18, R43).
"""

import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Final, TypeVar
from urllib.parse import urlsplit

import structlog

from chains.assets import Asset
from chains.nodes import (
    UNREADABLE,
    BlockContent,
    BlockPrunedError,
    BlockRef,
    Node,
    NodeBlindError,
    NodeBusyError,
    NodeContradictionError,
    NodeError,
    NodeUnavailableError,
    Pending,
    WrongChainError,
    WrongContractsError,
)

Answer = TypeVar("Answer")

log = structlog.get_logger(__name__)

LAG_BLOCKS_MAX: Final = 3
"""A node further behind the best one than this neither speaks nor votes."""
ROUND_S: Final = 10.0
"""How often every node is asked for its health."""
PAUSE_S_MAX: Final = 60.0
BUSY_S_MAX: Final = 600.0
NAMED: Final = frozenset({BlockPrunedError, NodeBlindError, WrongChainError, WrongContractsError})
AGREEMENT_BLOCKS_MAX: Final = 200
"""How far back two nodes' common block is looked for before nothing counts as final."""
HEIGHT_MAX: Final = 2**53
"""No chain comes near; what is beyond is no height, and no database column holds it."""


@dataclass(slots=True, kw_only=True)
class EndpointHealth:
    """How one endpoint does; ``name`` is its host and port, never its credentials or path.

    ``speaks`` tells whether the network is read from it now.
    ``agreed_height`` is how far it and the speaker held the same for final when last compared: far
    below its tip, they contradict each other.
    """

    name: str
    speaks: bool = False
    tip_height: int | None = None
    agreed_height: int | None = None
    latency_ms: int | None = None
    error: str = ""


@dataclass(slots=True)
class _Endpoint:
    url: str
    health: EndpointHealth
    node: Node | None = None
    failure: NodeError | None = None
    pause_s: float = 0.0
    silent_until: float = field(default=0.0)


class NodePool:
    """Every endpoint of one network behind the interface of a node."""

    def __init__(
        self,
        *,
        name: str,
        urls: Sequence[str],
        connect: Callable[[str], Node],
        assets: AbstractSet[str] = frozenset(),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Connect to nothing yet; ``connect`` raises NodeError, ``name`` is for messages.

        ``assets`` are the CAIP-19 ids of what the connected nodes read.
        """
        self.assets = assets
        self._name, self._connect, self._clock = name, connect, clock
        self._endpoints = [
            _Endpoint(url=url, health=EndpointHealth(name=endpoint_name(url))) for url in urls
        ]
        self._speaker: _Endpoint | None = None
        self._round_ends = 0.0

    @property
    def health(self) -> Sequence[EndpointHealth]:
        """What the last round of health and the questions since then showed."""
        return [replace(one.health, speaks=one is self._speaker) for one in self._endpoints]

    @property
    def speaker(self) -> str:
        """The name of the endpoint that speaks for the network now; empty before the first."""
        return self._speaker.health.name if self._speaker else ""

    def tip_height(self) -> int:
        """Height of the speaker's best block; chooses the speaker anew where that is due."""
        if self._clock() >= self._round_ends:
            self._hold_round()
        for _other in self._endpoints[1:]:
            try:
                return self._speaker_tip()
            except NodeError:
                continue  # it was let go of: the next one speaks
        return self._speaker_tip()

    def block_at(self, height: int) -> BlockRef:
        """The block at a height of the speaker's best chain."""
        return self._ask(lambda node: node.block_at(height))

    def read_blocks(self, first: int, last: int) -> Generator[BlockContent]:
        """The speaker's blocks from ``first`` to ``last``, in order."""
        speaker = self._speaking()
        try:
            with _readable(self.speaker):
                for content in speaker.read_blocks(first, last):
                    yield self._best_traced(content) if content.untraced else content
        except NodeError as error:
            self._silence(self._endpoint_of(speaker), error)
            raise

    def check_chain(self) -> None:
        """Raise WrongChainError unless the speaker still speaks for the network."""
        self._ask(lambda node: node.check_chain())

    def is_orphan(self, block_hash: str) -> bool:
        """Whether the speaker knows a block to be off its best chain."""
        return self._ask(lambda node: node.is_orphan(block_hash))

    def follows(self, height: int, block_hash: str) -> bool:
        """Whether a block is on the best chain of any node that answers."""
        if self._ask(lambda node: node.follows(height, block_hash)):
            return True
        for other in self._endpoints:
            if other is self._speaker or other.node is None or other.health.error:
                continue
            try:
                with _readable(other.health.name):
                    if other.node.follows(height, block_hash):
                        return True
            except NodeError as error:
                self._silence(other, error)
        return False

    def wrong_assets(self, assets: Sequence[Asset]) -> Mapping[str, str]:
        """What the speaker says against some assets."""
        return self._ask(lambda node: node.wrong_assets(assets))

    def pending(self, waiting: AbstractSet[str]) -> Pending:
        """What waits in the speaker's mempool."""
        return self._ask(lambda node: node.pending(waiting))

    def ask(self, question: Callable[[Node], Answer]) -> Answer:
        """The speaker's answer to a question of the caller's own; NodeError silences it."""
        return self._ask(question)

    def final_height(self, tip_height: int, confirmations: int) -> int:
        """The least of what the nodes hold for final, at a block they agree on (R19)."""
        final = self._ask(lambda node: node.final_height(tip_height, confirmations))
        speaker = self._speaker
        for other in self._endpoints:
            if other is speaker or other.node is None or other.health.error:
                continue
            try:
                with _readable(other.health.name):
                    agreed = self._agreed_height(other.node, final, confirmations)
                other.health.agreed_height = agreed
                final = min(final, agreed)
            except NodeError as error:
                if self._speaker is not speaker:
                    raise  # it was the speaker that failed, and it was let go of
                self._silence(other, error)
        return final

    def _best_traced(self, content: BlockContent) -> BlockContent:
        """A block that the speaker could not trace whole, by the node that traces most of it."""
        ref = content.ref
        for other in self._endpoints:
            if other is self._speaker or other.node is None or other.health.error:
                continue
            try:
                with _readable(other.health.name):
                    (same,) = other.node.read_blocks(ref.height, ref.height)
            except NodeError as error:
                self._silence(other, error)
                continue
            if same.ref.hash == ref.hash and len(same.untraced) < len(content.untraced):
                content = same
        return content

    def _agreed_height(self, other: Node, final: int, confirmations: int) -> int:
        height = min(final, other.final_height(other.tip_height(), confirmations))
        lowest = max(0, height - AGREEMENT_BLOCKS_MAX)
        step = 1
        while height >= lowest:
            if other.block_at(height).hash == self.block_at(height).hash:
                return height
            height, step = height - step, step * 2
        return -1

    def _speaker_tip(self) -> int:
        tip_height = self._ask(_tip_of)
        if self._speaker is not None:
            self._speaker.health.tip_height = tip_height
        return tip_height

    def _ask(self, question: Callable[[Node], Answer]) -> Answer:
        node = self._speaking()
        try:
            with _readable(self.speaker):
                return question(node)
        except NodeError as error:
            self._silence(self._endpoint_of(node), error)
            raise

    def _speaking(self) -> Node:
        if self._speaker is None or self._speaker.node is None:
            self._hold_round()
        if self._speaker is None or self._speaker.node is None:
            raise self._nobody()
        return self._speaker.node

    def _hold_round(self) -> None:
        """Ask every endpoint that is not to be left alone how far it is; choose who speaks."""
        for one in self._endpoints:
            if self._clock() >= one.silent_until:
                self._examine(one)
        tips = [one.health.tip_height for one in self._endpoints if not one.health.error]
        best = max((tip for tip in tips if tip is not None), default=0)
        self._speaker = next(
            (
                one
                for one in self._endpoints
                if one.node is not None
                and not one.health.error
                and (one.health.tip_height or 0) >= best - LAG_BLOCKS_MAX
            ),
            None,
        )
        self._round_ends = self._clock() + ROUND_S

    def _examine(self, endpoint: _Endpoint) -> None:
        health, began = endpoint.health, self._clock()
        try:
            with _readable(health.name):
                if endpoint.node is None:
                    endpoint.node = self._connect(endpoint.url)
                else:
                    endpoint.node.check_chain()
                health.tip_height = _tip_of(endpoint.node)
        except NodeError as error:
            self._silence(endpoint, error)
            return
        health.latency_ms = round((self._clock() - began) * 1000)
        endpoint.failure, health.error = None, ""
        if self._clock() >= endpoint.silent_until + endpoint.pause_s:
            endpoint.pause_s = 0.0  # it did well for as long as it was left alone

    def _silence(self, endpoint: _Endpoint, error: NodeError) -> None:
        """Let go of a failing node: the next connect checks its chain again.

        One that is asked too often is only left alone, for as long as it says.
        """
        endpoint.pause_s = min(PAUSE_S_MAX, max(1.0, 2 * endpoint.pause_s))
        if isinstance(error, NodeBusyError):
            endpoint.pause_s = min(BUSY_S_MAX, max(endpoint.pause_s, error.retry_after_s))
        else:
            endpoint.node = None
        endpoint.failure, endpoint.health.error = error, str(error)
        endpoint.silent_until = self._clock() + endpoint.pause_s
        if endpoint is self._speaker:
            self._speaker = None

    def _endpoint_of(self, node: Node) -> _Endpoint:
        return next(one for one in self._endpoints if one.node is node)

    def _nobody(self) -> NodeError:
        said = "; ".join(f"{one.health.name}: {one.health.error}" for one in self._endpoints)
        kinds = {type(one.failure) for one in self._endpoints if one.failure}
        # One reason for all is worth its own name; a mixture is just nobody.
        kind = kinds.pop() if len(kinds) == 1 else NodeUnavailableError
        return (kind if kind in NAMED else NodeUnavailableError)(
            f"No node of {self._name} (endpoints in NETWORKS_FILE) can be used. {said}"
        )


@contextmanager
def _readable(name: str) -> Iterator[None]:
    """Make what reading a strange answer raises a failure of the endpoint ``name``."""
    try:
        yield
    except UNREADABLE as error:
        log.exception("answer not readable", endpoint=name)
        raise NodeUnavailableError(
            f"{name} sent what cannot be read ({type(error).__name__})."
        ) from error


def _tip_of(node: Node) -> int:
    height = node.tip_height()
    if not 0 <= height <= HEIGHT_MAX:
        raise NodeContradictionError("The node's tip is at no possible height.")
    return height


def endpoint_name(url: str) -> str:
    """The host and port of a URL: what may be shown of an endpoint."""
    parts = urlsplit(url)
    return f"{parts.hostname or '?'}" + (f":{parts.port}" if parts.port else "")
