"""Run seeds side by side: ``python -m tests.simulation --seeds 1000``.

``--seed 123 --trace`` runs one again and shows every step of it. The exit status is 1 if an
invariant was broken; with ``--until-caught`` the first one ends the run.
"""

import multiprocessing
import os
import signal
import sys
import time
from argparse import ArgumentParser, Namespace
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from tests.simulation.seeds import Outcome

CHUNK: Final = 5
VACUUM_SEEDS: Final = 100


def main() -> int:
    """Run what the command line asks for; return the exit status."""
    options = _options()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory(prefix="alatau-simulation-")))
        _set_up(folder, stack)
        fired: Counter[str] = Counter()
        broken: Counter[str] = Counter()
        began, done = time.monotonic(), 0
        with suppress(KeyboardInterrupt):  # what was done until then is still told
            for outcome in _outcomes(options):
                done += 1
                fired += outcome.fired
                if options.trace:
                    _say("\n".join(outcome.trace))
                if outcome.violation:
                    broken[outcome.violation.partition(":")[0]] += 1
                    _say(f"seed {outcome.seed}: {outcome.violation}")
                    if options.until_caught:
                        return 1
        _report(fired, done, time.monotonic() - began)
    if broken:
        _say(f"{broken.total()} of {done} seeds broke an invariant: {dict(broken)}")
    return 1 if broken else 0


def _options() -> Namespace:
    parser = ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("--seeds", type=int, default=200, help="how many")
    parser.add_argument("--first", type=int, default=0, help="the first of them")
    parser.add_argument("--seed", type=int, help="this one alone")
    parser.add_argument("--trace", action="store_true", help="show every step")
    parser.add_argument("--until-caught", action="store_true", help="stop at the first violation")
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1)
    return parser.parse_args()


def _set_up(folder: Path, stack: ExitStack) -> None:
    """Start the engines, and migrate the database that every process clones."""
    from alatau_pay.engines import start_engines

    engines = stack.enter_context(start_engines(folder))
    os.environ |= {
        "DATABASE_URL": engines.database_url,
        "REDIS_URL": engines.redis_url,
        "DEVNET": "1",
        "NETWORKS_FILE": str(folder / "networks.json"),
        "DJANGO_SETTINGS_MODULE": "alatau_pay.settings",
    }
    import django
    import structlog
    from django.core.management import call_command
    from django.db import connections

    django.setup()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(50))
    from tests.simulation.city import write_registry

    write_registry(folder / "networks.json")
    call_command("migrate", verbosity=0)
    connections.close_all()


def _outcomes(options: Namespace) -> "Iterator[Outcome]":
    if options.seed is not None:
        _enter_clone()
        yield from _run_chunk([options.seed])
        return
    seeds = range(options.first, options.first + options.seeds)
    chunks = [list(seeds[start : start + CHUNK]) for start in range(0, len(seeds), CHUNK)]
    context = multiprocessing.get_context("fork")
    with context.Pool(options.processes, initializer=_become_worker) as pool:
        for outcomes in pool.imap_unordered(_run_chunk, chunks):
            yield from outcomes


def _become_worker() -> None:
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent tells what was done until then
    _enter_clone()


def _enter_clone() -> None:
    """Give this process a database of its own, cloned from the migrated one."""
    import psycopg
    from django.db import connections

    settings: dict[str, Any] = connections["default"].settings_dict
    clone = f"simulation_{os.getpid()}"
    with psycopg.connect(os.environ["DATABASE_URL"], dbname="template1", autocommit=True) as sql:
        sql.execute(f'CREATE DATABASE {clone} TEMPLATE "{settings["NAME"]}" STRATEGY FILE_COPY')
    settings["NAME"] = clone


def _run_chunk(seeds: list[int]) -> "list[Outcome]":
    from tests.simulation.database import connected, vacuum
    from tests.simulation.seeds import run_seed

    with connected() as made:
        if any(seed % VACUUM_SEEDS == 0 for seed in seeds):
            vacuum(made[0])
        return [run_seed(seed, made) for seed in seeds]


def _report(fired: Counter[str], done: int, took_s: float) -> None:
    _say(f"{'times':>9}  what happened")
    for case, times in sorted(fired.items()):
        _say(f"{times:9}  {case}")
    _say(f"{done} seeds in {took_s:.0f} s: {done / took_s:.1f} seeds/s")


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
