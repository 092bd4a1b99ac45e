"""See to it that nothing outlives the demo, whatever ends it.

The demo runs in a child. Its parent here adopts every process that loses its own parent
(``PR_SET_CHILD_SUBREAPER``), passes signals on, and once the child is gone, for whatever reason,
ends what is left and removes the folder.
"""

import contextlib
import ctypes
import os
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Final

PR_SET_PDEATHSIG: Final = 1
PR_SET_CHILD_SUBREAPER: Final = 36
ENDING: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
PATIENCE_S: Final = 8.0


def supervised(work: Callable[[Path], int]) -> int:
    """Run ``work`` in a child with a folder of its own; return its exit status.

    Linux only. Nothing that the child started is left when this returns.
    """
    folder = Path(tempfile.mkdtemp(prefix="alatau-"))
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    parent = os.getpid()
    child = os.fork()
    if child == 0:
        libc.prctl(PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
        status = 1
        try:
            if os.getppid() == parent:
                status = work(folder)
        finally:
            if os.getppid() != parent:  # nobody else is left to clear up
                shutil.rmtree(folder, ignore_errors=True)
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(status)

    def pass_on(number: int, _frame: FrameType | None) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(child, number)

    for number in ENDING:
        signal.signal(number, pass_on)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    _end_orphans()
    shutil.rmtree(folder, ignore_errors=True)
    return status if status >= 0 else 128 - status


def _end_orphans() -> None:
    """Ask what was adopted to end, then insist; new orphans appear as their parents go."""
    deadline = time.monotonic() + PATIENCE_S
    asked: set[int] = set()
    while orphans := _children():
        for pid in orphans:
            if time.monotonic() > deadline:
                _signal(pid, signal.SIGKILL)
            elif pid not in asked:
                asked.add(pid)
                _signal(pid, signal.SIGTERM)
        with contextlib.suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        time.sleep(0.05)


def _signal(pid: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)


def _children() -> list[int]:
    own = os.getpid()
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            after_name = stat.read_text().rpartition(")")[2].split()
            if int(after_name[1]) == own:
                found.append(int(stat.parent.name))
    return found
