"""Wall time, CPU time and peak memory of repeated work."""

import os
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

RUNS: Final = 15
COLUMNS: Final = ("median ms", "fastest ms", "CPU ms", "peak MB", "idle MB")


def timed(
    work: Callable[[int], object],
    *,
    cpu_of: Sequence[int] = (),
    after: Callable[[], object] = lambda: None,
) -> dict[str, float]:
    """What one run costs, ``after`` left out; CPU time is ours and that of other processes."""
    idle = peak_mb()
    walls, cpu_ms = [], 0.0
    for run in range(-2, RUNS):
        began, before = time.perf_counter(), _cpu_ms(cpu_of)
        work(run)
        wall, spent = time.perf_counter() - began, _cpu_ms(cpu_of) - before
        after()
        if run >= 0:  # what came before filled caches
            walls.append(wall * 1_000)
            cpu_ms += spent
    peak = peak_mb()
    figures = (statistics.median(walls), min(walls), cpu_ms / RUNS, peak, idle)
    return dict(zip(COLUMNS, figures, strict=True))


def peak_mb() -> float:
    """The most memory that this process has held since it began."""
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) / 1_024


def _cpu_ms(pids: Sequence[int]) -> float:
    ticks = 0
    for pid in pids:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        ticks += int(fields[11]) + int(fields[12])
    return time.process_time() * 1_000 + ticks * 1_000 / os.sysconf("SC_CLK_TCK")
