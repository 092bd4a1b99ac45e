"""What a provider lets us ask at once: learned from its refusals, for nobody documents it (R39).

Providers refuse ``eth_getLogs`` beyond 5, 2,000 or 10,000 blocks, or beyond so many results, and
batches beyond 10 or 100 questions; each with words of its own.
"""

from dataclasses import dataclass, field
from typing import Final

BLOCKS_MAX: Final = 2_000
"""Blocks whose headers and logs are asked for together in catch-up, where the node allows it."""
BATCH_MAX: Final = 100
FORGOTTEN_AFTER: Final = 200
"""Answers after which a refusal is old: what was too much may have been so by its content."""


class LearnedLimit:
    """How much to ask for: halved by a refusal, then narrowed between what went and what did not.

    ``size`` is what to ask for next, from 1 to ``most``.
    """

    def __init__(self, most: int, *, start: int | None = None) -> None:
        self.most, self.size = most, start or most
        self._went, self._refused, self._answers = 0, most + 1, 0

    def refuse(self, asked: int) -> None:
        """Learn that ``asked`` was too much."""
        self._refused = max(1, asked)
        self._answers = 0
        if self._went >= asked:
            # It went before: the content counts, not the number alone.
            self._went = 0
        self.size = max(1, (self._went + self._refused) // 2 if self._went else asked // 2)

    def allow(self, asked: int) -> None:
        """Learn that ``asked`` was answered."""
        self._answers += 1
        self._went = max(self._went, asked)
        if self._answers >= FORGOTTEN_AFTER:
            self._refused, self._answers = min(self.most + 1, 2 * self._refused), 0
        if asked >= self.size:
            self.size = max(self.size, min(self.most, (self._went + self._refused) // 2))


@dataclass(frozen=True, slots=True)
class ProviderLimits:
    """The limits of one endpoint; they outlive a connection to it."""

    blocks: LearnedLimit = field(default_factory=lambda: LearnedLimit(BLOCKS_MAX, start=500))
    batch: LearnedLimit = field(default_factory=lambda: LearnedLimit(BATCH_MAX))
