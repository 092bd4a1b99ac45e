"""An HTTP answer that ends: a node that sends a byte every few seconds holds nobody up.

A socket's timeout is for one read alone, so it bounds no head and no body that drips.
"""

import http.client
import io
import socket
import time
from typing import Any, Final

from typing_extensions import Buffer, override

ANSWER_BYTES_MAX: Final = 256 * 1024 * 1024
"""No honest answer is larger: a block is 8 MB of hex, a full mempool's list of txids 40 MB."""
SLOW_ANSWER: Final = 6
"""An answer, head and body, may take this many of its socket's timeouts in all."""
READ_BYTES: Final = 64 * 1024


class EndlessAnswerError(OSError):
    """An answer took too long as a whole, or is too large."""


class BoundedResponse(http.client.HTTPResponse):
    """The ``response_class`` of a connection with a timeout.

    Reading it raises EndlessAnswerError, and TimeoutError where nothing comes at all.
    """

    def __init__(self, sock: socket.socket, *arguments: Any, **options: Any) -> None:  # noqa: ANN401 -- http.client's own
        """Begin to count the time: the question was sent."""
        super().__init__(sock, *arguments, **options)
        self.fp = io.BufferedReader(_BoundedReader(sock, self.fp.detach()), READ_BYTES)


class _BoundedReader(io.RawIOBase):
    """Reads a socket's file until the answer's time or size is used up."""

    def __init__(self, sock: socket.socket, file: io.RawIOBase) -> None:
        self._sock, self._file = sock, file
        self._timeout_s = sock.gettimeout() or 0.0
        self._deadline = time.monotonic() + SLOW_ANSWER * self._timeout_s
        self._bytes_left = ANSWER_BYTES_MAX

    @override
    def readable(self) -> bool:
        return True

    @override
    def readinto(self, buffer: Buffer, /) -> int | None:
        left_s = self._deadline - time.monotonic()
        if left_s <= 0 or self._bytes_left <= 0:
            raise EndlessAnswerError
        self._sock.settimeout(min(left_s, self._timeout_s))
        size = self._file.readinto(buffer)
        self._bytes_left -= size or 0
        return size

    @override
    def close(self) -> None:
        if not self.closed:
            if self._sock.fileno() != -1:
                self._sock.settimeout(self._timeout_s)  # the next question's
            self._file.close()
        super().close()
