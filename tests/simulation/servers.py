"""How a model node hears of the chain, and how it fails: late, silent, blind, lying, elsewhere."""

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final

from chains.nodes import NodeUnavailableError
from tests.simulation.chain import Block, Chain, Tx

ANY: Final = {
    "frozen": "R19 node lags behind the others",
    "down": "R20 node answers nothing",
    "flaky": "R20 node fails now and then",
    "empty": "R12 node lost its mempool",
    "warming": "R15 node catches up",
    "young": "R15 node was restored from an older copy",
    "foreign": "R18 another chain behind the same URL",
    "forging": "R41 node tells another block's hash",
}
BITCOIN: Final = {"pruned": "R17 node pruned what was not scanned"}
EVM: Final = {
    "narrow": "R39 node answers for one block at a time",
    "logless": "R40 node says that there are no logs",
    "contradicting": "R41 node gives the receipt of another block",
}
MODES: Final = {**ANY, **BITCOIN, **EVM}
"""What may be wrong with a server, and how the report counts it."""
HONEST: Final = frozenset({"", "frozen", "empty"})
"""A server in these modes believes what it says of blocks."""
FLAKY_SHARE: Final = 0.15
FORGED_SHARE: Final = 0.1


@dataclass(eq=False)
class Server:
    """One node of a network as it stands: what it has heard, and what is wrong with it."""

    name: str
    chain: Chain
    foreign: Callable[[], Chain]
    rng: random.Random
    asked: Callable[["Server"], None]
    fired: Callable[[str], None]
    mode: str = ""
    best: Block = field(init=False)
    finalized: Block = field(init=False)
    heard: set[str] = field(default_factory=set)
    told: list[Block] = field(default_factory=list)
    """Every block that it ever held for the best, and those that it forged."""
    mempool: Mapping[str, Tx] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.best = self.finalized = self.chain.best
        self.hear()

    @property
    def is_honest(self) -> bool:
        """Whether nothing is wrong with it but perhaps its age."""
        return not self.mode

    @property
    def waiting(self) -> Mapping[str, Tx]:
        """Its mempool."""
        return {} if self.mode in {"empty", "foreign"} else self.mempool

    @property
    def is_warming_up(self) -> bool:
        """Whether it says that it does not see the chain's end."""
        return self.mode == "warming"

    @property
    def pruned_below(self) -> int:
        """The height up to which it has thrown blocks away."""
        return self.best.height if self.mode == "pruned" else -1

    def become(self, mode: str) -> None:
        """Let something be wrong with it; an empty mode heals it."""
        if self.mode == "foreign":
            self.mode = ""
            self.hear()
        self.mode = mode
        if mode == "young":
            older = self.best.at(max(1, self.best.height - self.rng.randint(1, 4)))
            self.best = self.finalized = older or self.best
            self.heard = {one.hash for one in self.best.branch()}
        if mode == "foreign":
            chain = self.foreign()
            self.best = self.finalized = chain.best
        if not mode:
            self.hear()

    def hear(self) -> None:
        """Take in the chain's news, unless something keeps it from them."""
        if self.mode in {"frozen", "foreign", "young", "down"}:
            return
        self.best, self.finalized = self.chain.best, self.chain.finalized
        self.told.append(self.best)
        self.heard |= {one.hash for one in self.best.branch()}
        self.mempool = dict(self.chain.waiting)

    def ask(self, method: str) -> None:
        """Begin an answer: others may run first, and it may fail."""
        self.asked(self)
        if self.mode:
            if self.mode == "down" or (self.mode == "flaky" and self.rng.random() < FLAKY_SHARE):
                self.fired(MODES[self.mode])
                raise NodeUnavailableError(f"{self.name}: no answer to {method}")
            if self.mode not in {"flaky", "forging"}:
                self.fired(MODES[self.mode])

    def block_at(self, height: int) -> Block | None:
        """The block at a height of its best chain, or a forged one."""
        block = self.best.at(height)
        if (
            self.mode == "forging"
            and block is not None
            and block.parent is not None
            and self.rng.random() < FORGED_SHARE
        ):
            self.fired(MODES["forging"])
            some = [tx for tx in self.mempool.values() if self.rng.random() < 0.5]
            forged = self.chain.mine(some, over=block.parent)
            self.heard.add(forged.hash)
            self.told.append(forged)
            return forged
        return block

    def known(self, block_hash: str) -> Block | None:
        """A block that it has heard of."""
        if self.mode == "foreign":
            return next((one for one in self.best.branch() if one.hash == block_hash), None)
        return self.chain.blocks.get(block_hash) if block_hash in self.heard else None
