"""The embedded engines: shared, stopped by whoever started them, and harmless to the host."""

import os
import signal
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from alatau_pay.engines import REPOSITORY, EngineError, start_engines

REDIS = "redis://127.0.0.1:9/0"


def answers(url: str) -> bool:
    try:
        psycopg.connect(url, connect_timeout=2).close()
    except psycopg.OperationalError:
        return False
    return True


def modes(folder: Path) -> list[int]:
    return [stat.S_IMODE(one.stat().st_mode) for one in [folder, *folder.parents]]


@pytest.fixture
def private() -> Iterator[Path]:
    """A folder that only its owner may enter, with a path short enough for a socket."""
    with tempfile.TemporaryDirectory(prefix="alatau-tests-") as folder:
        yield Path(folder)


def test_whoever_started_an_engine_stops_it_and_no_permission_changes(private: Path) -> None:
    before = modes(private)
    with start_engines(private / "e", redis_url=REDIS, durable=False) as first:
        with start_engines(private / "e", redis_url=REDIS, durable=False) as second:
            assert second == first
        assert answers(first.database_url)
        with psycopg.connect(first.database_url) as connection:
            assert connection.execute("SHOW server_encoding").fetchone() == ("UTF8",)
    assert not answers(first.database_url)
    assert modes(private) == before


def test_an_engine_that_was_killed_comes_up_again_with_its_data(private: Path) -> None:
    with start_engines(private, redis_url=REDIS, durable=False) as engines:
        with psycopg.connect(engines.database_url) as connection:
            connection.execute("CREATE TABLE kept AS SELECT 7 AS seven")
        pid = int((private / "postgres/data/postmaster.pid").read_text().split()[0])
        os.kill(pid, signal.SIGKILL)
    with (
        start_engines(private, redis_url=REDIS, durable=False) as engines,
        psycopg.connect(engines.database_url) as connection,
    ):
        assert connection.execute("SELECT seven FROM kept").fetchone() == (7,)


def test_a_path_that_is_too_long_says_what_to_set(tmp_path: Path) -> None:
    with (
        pytest.raises(EngineError, match=r"ALATAU_DATA_DIR.*TMPDIR"),
        start_engines(tmp_path / ("x" * 90), redis_url=REDIS),
    ):
        pass


SUPERVISED = """
import os, signal, subprocess, sys, time
from alatau_pay.devnet.supervisor import supervised

def work(folder):
    (folder / "made").touch()
    stray = subprocess.Popen(["sleep", "600"], start_new_session=True)
    stubborn = subprocess.Popen(
        [sys.executable, "-c", "import signal as s; s.signal(15, s.SIG_IGN); s.pause(); s.pause()"],
        start_new_session=True,
    )
    time.sleep(0.5)
    print(folder, stray.pid, stubborn.pid, flush=True)
    if sys.argv[1] == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    return 3

sys.exit(supervised(work))
"""


@pytest.mark.parametrize(("how", "status"), [("ends", 3), ("killed", 128 + signal.SIGKILL)])
def test_nothing_outlives_a_supervised_program(how: str, status: int) -> None:
    done = subprocess.run(
        [sys.executable, "-c", SUPERVISED, how], cwd=REPOSITORY, capture_output=True, text=True
    )
    folder, *pids = done.stdout.split()
    assert done.returncode == status, done.stderr
    assert not Path(folder).exists()
    assert not [pid for pid in pids if Path(f"/proc/{pid}").exists()]
