"""How far a walk over blocks is: blocks per second, and when it will end."""

import time
from datetime import timedelta
from typing import Final, Protocol

from django.core.management.base import OutputWrapper

WIDTH: Final = 24
TERMINAL_S: Final = 0.2
LOG_S: Final = 10.0


class Walked(Protocol):
    """Where a walk stands and where it goes."""

    height: int
    tip_height: int


class Progress:
    """A line that is drawn anew on a terminal; elsewhere, a new line now and then."""

    def __init__(self, out: OutputWrapper, *, name: str) -> None:
        """``name`` is what people call the network."""
        self._out, self._name = out, name
        self._first: int | None = None
        self._began = self._said = time.monotonic()
        self._drawn = False

    def __call__(self, walked: Walked) -> None:
        """Hear of the walk after a block."""
        now = time.monotonic()
        if self._first is None:
            self._first, self._began = walked.height, now
        pause_s = TERMINAL_S if self._out.isatty() else LOG_S
        if now - self._said >= pause_s and walked.height < walked.tip_height:
            self._said = now
            self._write(
                line_of(walked, name=self._name, first=self._first, took_s=now - self._began)
            )

    def end(self, walked: Walked) -> None:
        """Draw the last line."""
        took_s = time.monotonic() - self._began
        first = walked.height if self._first is None else self._first
        self._write(line_of(walked, name=self._name, first=first, took_s=took_s))
        if self._drawn:
            self._out.write("")

    def _write(self, line: str) -> None:
        if self._out.isatty():
            self._drawn = True
            self._out.write(f"\r\x1b[2K{line}", ending="")
            self._out.flush()
        else:
            self._out.write(line)


def line_of(walked: Walked, *, name: str, first: int, took_s: float) -> str:
    """One line: a bar, heights, blocks per second since height ``first``, and the time left."""
    done, left = walked.height - first, max(0, walked.tip_height - walked.height)
    share = done / (done + left) if done + left else 1.0
    bar = "#" * round(share * WIDTH)
    speed = done / took_s if took_s > 0 else 0.0
    text = f"{name:12} [{bar:.<{WIDTH}}] {walked.height} of {walked.tip_height}"
    if speed:
        text += f"  {speed:.1f} blocks/s"
    if left and speed:
        text += f"  ETA {timedelta(seconds=round(left / speed))}"
    return text
