"""Start PostgreSQL and Redis once for all test processes, before Django reads its settings."""

import atexit
import os
import tempfile
from contextlib import ExitStack
from pathlib import Path

import pytest
from _pytest.nodeid import coerce_node_id

from alatau_pay.engines import start_engines


def _start_engines() -> None:
    stack = ExitStack()
    folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="alatau-tests-"))
    given = {name: os.environ.get(name, "") for name in ("DATABASE_URL", "REDIS_URL")}
    engines = stack.enter_context(
        start_engines(
            Path(folder),
            database_url=given["DATABASE_URL"],
            redis_url=given["REDIS_URL"],
            durable=False,
        )
    )
    os.environ["DATABASE_URL"] = engines.database_url
    os.environ["REDIS_URL"] = engines.redis_url
    atexit.register(stack.close)


os.environ.setdefault("DEVNET", "1")
os.environ.setdefault("FIXED_RATES", "BTC=45000000,ETH=1500000,USDT=475,USDC=475")
if "PYTEST_XDIST_WORKER" not in os.environ and not (
    os.environ.get("DATABASE_URL") and os.environ.get("REDIS_URL")
):
    _start_engines()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--cases", action="store_true", help="list the numbered cases with their tests"
    )


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Keep each ``xdist_group`` on one process: pytest 9.2 reads not what xdist 3.8 writes."""
    for item in items:
        grouped = vars(item).get("_nodeid")
        if grouped:
            item._id = coerce_node_id(grouped)


def pytest_collection_finish(session: pytest.Session) -> None:
    if not session.config.getoption("--cases"):
        return
    covered = sorted(
        (mark.args[0], item.nodeid) for item in session.items for mark in item.iter_markers("case")
    )
    for number, nodeid in covered:
        print(f"{number:6} {nodeid}")  # noqa: T201
