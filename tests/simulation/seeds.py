"""Run one seed: set a city up, let chance move everything, and check after every commit."""

import random
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from hashlib import sha256
from typing import Any, Final

from django.db import connections
from django.db.backends.base.base import BaseDatabaseWrapper

from alatau_pay.devnet import bitcoind
from merchants.models import Merchant, Shop
from tests.simulation.clock import Clock, seeded_entropy
from tests.simulation.database import wipe
from tests.simulation.invariants import Invariants
from tests.simulation.nature import moves_of
from tests.simulation.rest import check_rest, come_to_rest
from tests.simulation.servers import ANY, BITCOIN, EVM
from tests.simulation.world import ViolationError, World

MOVES: Final = {
    "mine": 5,
    "pay": 5,
    "reorganise": 3,
    "double spend": 2,
    "replace": 3,
    "evict": 1,
    "return": 1,
    "malleate": 1,
    "child": 1,
    "coinbase": 1,
    "noise": 1,
    "finalise": 2,
}
TASKS: Final = {"scan": 8, "apply": 4, "expire": 2, "issue": 1, "choose": 2}
"""What happens outside and inside, by its weight."""
NATURE_SHARE: Final = 0.65


@dataclass(slots=True, kw_only=True)
class Outcome:
    """What became of one seed; ``violation`` is empty when all held."""

    seed: int
    violation: str = ""
    trace: list[str] = field(default_factory=list)
    fired: Counter[str] = field(default_factory=Counter)

    @property
    def digest(self) -> str:
        """The same for two runs that did the same."""
        return sha256("\n".join([*self.trace, self.violation]).encode()).hexdigest()


def run_seed(seed: int, connections_: Sequence[BaseDatabaseWrapper]) -> Outcome:
    """Run one seed on some connections, the first of which observes; the database is emptied."""
    observer, *others = connections_
    before = connections["default"]
    connections["default"] = observer  # type: ignore[assignment]
    clock = Clock(observer)
    outcome = Outcome(seed=seed)
    try:
        wipe(observer)
        entropy = random.Random(f"entropy {seed}")  # noqa: S311 -- chance that can be repeated
        with clock.running(), seeded_entropy(entropy):
            world = World(seed=seed, observer=observer, connections=others, clock=clock)
            outcome.trace, outcome.fired = world.trace, world.fired
            try:
                _live(world)
            except ViolationError as violation:
                outcome.violation = str(violation)
            finally:
                for worker in world.workers:
                    worker.kill()
    finally:
        connections["default"] = before
    return outcome


def _live(world: World) -> None:
    _open_shops(world)
    invariants = Invariants(world)
    moves = moves_of(world)
    world.is_calm = True
    worker = world.workers[0]
    for name in (*world.chains, "issue", "issue", "choose", "choose", "choose"):
        task = (
            world.scan(worker, name)
            if name in world.chains
            else world.issue()
            if name == "issue"
            else world.choose()
        )
        world.begin(worker, name, task)
        _finish(world)
    world.is_calm = False
    invariants.check()
    for _ in range(world.temper.steps):
        _step(world, moves, invariants)
    come_to_rest(world, invariants)
    check_rest(world, invariants)


def _step(world: World, moves: Mapping[str, Callable[[str], None]], invariants: Invariants) -> None:
    rng = world.rng
    caip2 = rng.choice(list(world.chains))
    if rng.random() < NATURE_SHARE:
        moves[_weighed(rng, MOVES)](caip2)
        for server in world.servers[caip2]:
            if rng.random() < 0.8:
                server.hear()
    _fail_or_heal(world, caip2)
    world.clock.advance(timedelta(seconds=rng.choice((1, 1, 5, 30, 130, 600))))
    for _ in range(rng.choice((1, 2, 4))):
        _work(world, caip2)
        invariants.check()


def _fail_or_heal(world: World, caip2: str) -> None:
    rng = world.rng
    if rng.random() < world.temper.fault_share:
        server = rng.choice(world.servers[caip2])
        server.become(
            rng.choice(("", *sorted({**ANY, **(BITCOIN if caip2 == bitcoind.CAIP2 else EVM)})))
        )
        world.say(f"{server.name} is {server.mode or 'well'}")
    elif rng.random() < 0.3:
        for server in world.servers[caip2]:
            if server.mode and rng.random() < 0.5:
                server.become("")
                world.say(f"{server.name} is well")


def _work(world: World, caip2: str) -> None:
    rng = world.rng
    worker = rng.choice(world.workers)
    if worker.is_busy:
        world.turn(worker)
        return
    kind = _weighed(rng, TASKS)
    task: Callable[[], Any]
    match kind:
        case "scan":
            task = world.scan(worker, caip2)
        case "apply":
            task = world.apply(caip2)
        case "expire":
            task = world.expire()
        case "issue":
            task = world.issue()
        case _:
            task = world.choose()
    world.begin(worker, f"{kind} {world.networks[caip2].name}", task)


def _weighed(rng: random.Random, weights: Mapping[str, int]) -> str:
    return rng.choices(list(weights), list(weights.values()))[0]


def _finish(world: World) -> None:
    for worker in world.workers:
        while worker.is_busy:
            world.turn(worker)


def _open_shops(world: World) -> None:
    for number in range(2):
        merchant = Merchant.objects.create(
            legal_name=f"Дүкен {number}",
            bin_or_iin="250140000409",
            iban="KZ41722C000000000001",
        )
        shop = Shop.objects.create(
            merchant=merchant, name=f"Дүкен {number}", status=Shop.Status.APPROVED
        )
        world.shops.append(shop.pk)
