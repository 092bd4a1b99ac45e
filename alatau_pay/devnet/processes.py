"""Start and end a node: its own group, its own log, dead before its folder goes."""

import contextlib
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

START_S_MAX: Final = 30.0
STOP_S_MAX: Final = 15.0


class NodeDidNotStartError(RuntimeError):
    """A node ended or stayed silent; the message holds the end of its log."""


def free_port() -> int:
    """Return a loopback port that is free now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def running(
    command: Sequence[str], *, folder: Path, name: str, answers: Callable[[], bool]
) -> Iterator[subprocess.Popen[bytes]]:
    """Run a node until the block ends; yields once ``answers`` says that it does."""
    folder.mkdir(parents=True, exist_ok=True)
    log_path = folder / f"{name}.log"
    with log_path.open("ab") as log:
        process = subprocess.Popen(
            list(command), stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
        )
    try:
        deadline = time.monotonic() + START_S_MAX
        while not answers():
            if process.poll() is not None or time.monotonic() > deadline:
                raise NodeDidNotStartError(_why(name, command, process.poll(), log_path))
            time.sleep(0.05)
        yield process
    finally:
        process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(STOP_S_MAX)
        if process.poll() is None:
            process.kill()
            process.wait()


def _why(name: str, command: Sequence[str], status: int | None, log_path: Path) -> str:
    ended = "is silent" if status is None else f"ended with status {status}"
    tail = log_path.read_text(errors="replace")[-1500:].strip() or "It printed nothing."
    return (
        f"{name} did not start: {command[0]} {ended}. Set {name.upper()}=/path/to/{name} to use "
        f"another.\n{tail}"
    )
