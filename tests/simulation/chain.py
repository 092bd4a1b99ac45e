"""A model of a chain as it really is: blocks that branch, what waits, what excludes what.

It knows nothing of the code under test. Both kinds of network share it: a transaction has claims
that only one transaction of a branch may hold (the outpoints it spends, or an account's nonce) and
needs (its parents).
"""

import random
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Pay:
    """Value that a transaction sends to a script or address; base units of a CAIP-19 asset."""

    position: str
    script: bytes
    asset: str
    value: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Mood:
    """What a transaction does in one block: what it pays, and what the network's model knows."""

    pays: tuple[Pay, ...] = ()
    detail: Any = None


@dataclass(eq=False, slots=True, kw_only=True)
class Tx:
    """A transaction; its block chooses one of ``moods``, the first one as a rule.

    One that ``waits`` goes through the mempool; a coinbase or a withdrawal does not. ``body`` is
    what the network's model makes of it.
    """

    txid: str
    claims: tuple[bytes, ...]
    needs: tuple[str, ...] = ()
    moods: tuple[Mood, ...]
    born_at: datetime
    body: Any = None
    waits: bool = True
    is_coinbase: bool = False
    replaces: "Tx | None" = None

    @property
    def promised_at(self) -> datetime:
        """When the payer first broadcast this payment or one that it replaces."""
        earlier = self.replaces.promised_at if self.replaces else self.born_at
        return min(self.born_at, earlier)


@dataclass(eq=False, slots=True, kw_only=True)
class Block:
    """A block; ``taken`` and ``holds`` tell of the whole branch below it."""

    height: int
    hash: str
    parent: "Block | None"
    time: datetime
    mined: tuple[tuple[Tx, Mood], ...] = ()
    body: Any = None
    taken: dict[bytes, str] = field(default_factory=dict)
    holds: frozenset[str] = frozenset()

    @property
    def parent_hash(self) -> str:
        """The parent's hash; zeroes for the first block."""
        return self.parent.hash if self.parent else "0" * 64

    def branch(self) -> "Iterator[Block]":
        """This block and those below it."""
        block: Block | None = self
        while block is not None:
            yield block
            block = block.parent

    def at(self, height: int) -> "Block | None":
        """The block of this branch at a height."""
        return next((one for one in self.branch() if one.height == height), None)


Seal = Callable[[Block, Sequence[Tx]], Block]
"""Makes the next block over a parent with some transactions in order."""


class Chain:
    """Every block that was ever mined, the best of them, and what waits."""

    def __init__(self, *, genesis: Block, rng: random.Random, seal: Seal) -> None:
        self.blocks = {genesis.hash: genesis}
        self.best = genesis
        self.waiting: dict[str, Tx] = {}
        self.gone: list[Tx] = []
        self.transactions: dict[str, Tx] = {}
        self.finalized = genesis
        self._rng, self._seal = rng, seal

    def broadcast(self, tx: Tx) -> None:
        """Let a transaction wait; what claims the same, and what needs that, leaves."""
        self.transactions[tx.txid] = tx
        rivals = [
            one for one in self.waiting.values() if one is not tx and set(one.claims) & {*tx.claims}
        ]
        for rival in rivals:
            self.drop(rival)
        self.waiting[tx.txid] = tx

    def drop(self, tx: Tx) -> None:
        """Let a transaction and its children leave the mempool."""
        if self.waiting.pop(tx.txid, None) is None:
            return
        self.gone.append(tx)
        for child in [one for one in self.waiting.values() if tx.txid in one.needs]:
            self.drop(child)

    def may_wait(self, tx: Tx) -> bool:
        """Whether nothing in the best branch or the mempool excludes a transaction."""
        claimed = {claim for one in self.waiting.values() for claim in one.claims}
        return (
            tx.txid not in self.waiting
            and self._fits(tx, self.best, set(self.waiting))
            and not claimed & set(tx.claims)
        )

    def mine(self, txs: Iterable[Tx], *, over: Block | None = None) -> Block:
        """Mine those of some transactions that fit together, over the best block or another."""
        parent = over or self.best
        chosen: list[Tx] = []
        txids: set[str] = set()
        claims: set[bytes] = set()
        for tx in txs:
            if self._fits(tx, parent, txids) and not claims & set(tx.claims):
                chosen.append(tx)
                txids.add(tx.txid)
                claims.update(tx.claims)
        block = self._seal(parent, chosen)
        self.transactions |= {tx.txid: tx for tx, _mood in block.mined}
        block.taken = parent.taken | {claim: tx.txid for tx in chosen for claim in tx.claims}
        block.holds = parent.holds | txids
        self.blocks[block.hash] = block
        return block

    def adopt(self, best: Block) -> None:
        """Make a block the best; what it leaves behind waits again where it still may."""
        kept = {one.hash for one in best.branch()}
        left = [one for one in self.best.branch() if one.hash not in kept]
        self.best = best
        candidates = [tx for block in reversed(left) for tx, _mood in block.mined]
        candidates += list(self.waiting.values())
        self.waiting = {}
        for tx in candidates:
            if not tx.waits or tx.txid in best.holds:
                continue
            if self.may_wait(tx):
                self.waiting[tx.txid] = tx
            else:
                self.gone.append(tx)

    def grow(self, count: int = 1, *, share: float = 0.8) -> None:
        """Mine blocks over the best one; each takes about a share of what waits."""
        for _ in range(count):
            chosen = [tx for tx in self.waiting.values() if self._rng.random() < share]
            self.adopt(self.mine(chosen))

    def reorganise(
        self, depth: int, *, extra: int = 1, share: float = 0.6, first: Sequence[Tx] = ()
    ) -> None:
        """Replace the top blocks by a longer branch: ``first``, then some of the same."""
        fork = self.best.at(self.best.height - depth)
        if fork is None:
            return
        lost = [one for one in self.best.branch() if one.height > fork.height]
        pool = [tx for block in reversed(lost) for tx, _mood in block.mined if tx.waits]
        pool += [tx for tx in self.waiting.values() if tx not in pool]
        best = self.mine(first, over=fork)
        for _ in range(depth + extra - 1):
            chosen = [tx for tx in pool if self._rng.random() < share / max(1, depth / 2)]
            best = self.mine(chosen, over=best)
        self.adopt(best)

    @staticmethod
    def _fits(tx: Tx, parent: Block, beside: set[str]) -> bool:
        return (
            tx.txid not in parent.holds
            and all(one in parent.holds or one in beside for one in tx.needs)
            and not any(claim in parent.taken for claim in tx.claims)
        )
