"""How the two Celery workers are started: what waits for a node, and what never does.

What asks nodes, and sources of rates, has a worker of its own, with threads: a network whose node
is silent holds its own and no other network waits for it, and all scans of a network share one
process's connections, its picture of the mempool and its knowledge of which node is dead (a process
for each network would cost a hundred megabytes each, a pool of processes would scatter that
knowledge). What settles invoices has processes of its own: it waits for the database alone.
"""

from collections.abc import Mapping
from typing import Final

WORKERS: Final[Mapping[str, tuple[str, ...]]] = {
    # A network holds two at most, its scan and its sweeps, and a source of rates one. One that is
    # not used does not exist.
    "chains": ("--queues", "chains", "--pool", "threads", "--concurrency", "32"),
    "default": ("--queues", "default", "--pool", "prefork", "--concurrency", "2"),
}
"""Celery's options by the worker's name; compose.yaml and the devnet start these."""
