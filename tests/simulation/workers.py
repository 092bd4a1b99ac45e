"""Workers that take turns: each has its own connections and may stop, or die, at any question.

A worker's task runs until it asks a node something; there others may run first, or it is killed.
A kill is what ``kill -9`` leaves: the transaction rolled back, the process's memory lost.
"""

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

import greenlet
from django.db import OperationalError, connections
from django.db.backends.base.base import BaseDatabaseWrapper

from chains.nodes import NodeError
from chains.pool import NodePool
from merchants.invoices import InvoiceError
from settlement.rates.sources import RateUnavailableError

EXPECTED = (NodeError, InvoiceError, RateUnavailableError, OperationalError)
"""What a task may fail with: the next beat runs it again."""


class Killed(BaseException):
    """The worker's process is gone."""


class Worker:
    """One process: a database connection, node connections, and at most one task at a time."""

    def __init__(
        self, *, name: str, connection: BaseDatabaseWrapper, rng: random.Random, switch_share: float
    ) -> None:
        self.name, self.connection = name, connection
        self._rng, self.switch_share = rng, switch_share
        self.pools: dict[str, NodePool] = {}
        self.task = ""
        self.promised: set[tuple[str, str]] = set()
        self.began_at = datetime.min.replace(tzinfo=UTC)
        self.failure: BaseException | None = None
        self.result: Any = None
        self.statements = 0
        self._life = 0
        self._is_dying = False
        self._greenlet: greenlet.greenlet | None = None
        connection.execute_wrappers[:] = [self._at_statement]

    @property
    def is_busy(self) -> bool:
        """Whether a task is under way."""
        return self._greenlet is not None

    def start(self, name: str, task: Callable[[], Any], *, life: int = 0) -> None:
        """Take on a task; ``life`` above 0 kills the worker after so many questions."""
        self.task, self._life, self._is_dying = name, life, False
        self.failure = self.result = None
        self._greenlet = greenlet.greenlet(lambda: self._run(task))

    def go_on(self) -> None:
        """Run until the task lets others run, ends or dies."""
        if self._greenlet is None:
            return
        with _speaking_on(self.connection):
            self._greenlet.switch()
        if self._greenlet.dead:
            self._greenlet = None

    def kill(self) -> None:
        """Kill the process where it stands."""
        if self._greenlet is not None:
            self._is_dying = True
            with _speaking_on(self.connection):
                self._greenlet.throw(Killed())
            self._greenlet = None
        self.pools.clear()

    def at_question(self) -> None:
        """What happens when the task asks a node: it may die or let others run first."""
        if self.connection.in_atomic_block:
            raise AssertionError("a node is asked inside a transaction")
        self._age()
        if self._rng.random() < self.switch_share:
            greenlet.getcurrent().parent.switch()

    def _run(self, task: Callable[[], Any]) -> None:
        try:
            self.result = task()
        except Killed as death:
            self.failure = death
            self.pools.clear()
        except Exception as error:  # noqa: BLE001 -- judged by the world
            self.failure = error

    def _at_statement(
        self,
        execute: Callable[..., Any],
        sql: Any,  # noqa: ANN401 -- Django's own protocol
        params: Any,  # noqa: ANN401
        many: bool,
        context: Any,  # noqa: ANN401
    ) -> Any:  # noqa: ANN401
        result = execute(sql, params, many, context)
        if not self._is_dying:
            self.statements += 1
            self._age()
        return result

    def _age(self) -> None:
        if self._life:
            self._life -= 1
            if not self._life:
                self._is_dying = True
                raise Killed


@contextmanager
def _speaking_on(connection: BaseDatabaseWrapper) -> Iterator[None]:
    before = connections["default"]
    connections["default"] = connection  # type: ignore[assignment]
    try:
        yield
    finally:
        connections["default"] = before
