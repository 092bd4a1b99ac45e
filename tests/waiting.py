"""Wait for what happens in another thread or process."""

import time
from collections.abc import Callable


def wait_until(what: Callable[[], bool], *, timeout_s: float = 30.0) -> None:
    """Return once ``what`` is true; fail the test when it never is."""
    deadline = time.monotonic() + timeout_s
    while not what():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.05)
