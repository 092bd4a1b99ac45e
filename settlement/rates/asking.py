"""One HTTP question to a source, bounded as a whole: time, size, and where it goes.

A timeout of a socket is for one read alone, so a server that drips bytes would hold a worker for
hours. Here the whole conversation has one deadline. Redirects are refused: a source is where the
operator said it is.
"""

import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from types import TracebackType
from typing import Any, Final, Self

import httpcore
from typing_extensions import override

ANSWER_BYTES_MAX: Final = 4 * 1024 * 1024
"""A ticker is one kilobyte, a day's official rates ten."""
RETRY_AFTER_S_MAX: Final = 3600
USER_AGENT: Final = "alatau-pay"


class AskError(Exception):
    """Nothing usable came: silence, a redirect, too much, or something that is no answer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpAnswer:
    """A whole answer; header names are lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class Asker:
    """Connections that all end at one deadline, ``timeout_s`` after the first question."""

    def __init__(self, *, timeout_s: int) -> None:
        """Connect nowhere yet."""
        self.retry_after_s: int | None = None
        """What the last answer asked for: to be left alone for so long."""
        self.is_well = True
        """Whether the last question had an answer whose status is no error."""
        self._pool = httpcore.ConnectionPool(
            network_backend=_Backend(_Deadline(timeout_s)), retries=0, max_connections=1
        )

    def __enter__(self) -> Self:
        """Hold the connections."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Let the connections go."""
        self._pool.close()

    def ask(
        self, url: str, *, method: str = "GET", headers: Mapping[str, str] | None = None
    ) -> HttpAnswer:
        """Ask once; raises AskError. Any status but a redirect's is an answer."""
        self.is_well = False
        sent = {"User-Agent": USER_AGENT} | dict(headers or {}) | {"Accept-Encoding": "identity"}
        try:
            with self._pool.stream(method, url, headers=list(sent.items())) as response:
                answer = _read(response)
        except (httpcore.TimeoutException, TimeoutError) as error:
            raise AskError("no answer in time") from error
        except (
            httpcore.NetworkError,
            httpcore.ProtocolError,
            httpcore.UnsupportedProtocol,
            OSError,
        ) as error:
            raise AskError(f"no connection: {type(error).__name__}") from error
        self.retry_after_s = _retry_after_s(answer)
        if 300 <= answer.status < 400:
            raise AskError(f"a redirect (HTTP {answer.status})")
        self.is_well = answer.status < 400
        return answer


def _read(response: httpcore.Response) -> HttpAnswer:
    headers = {
        name.decode("latin-1").lower(): value.decode("latin-1") for name, value in response.headers
    }
    body = bytearray()
    for chunk in response.iter_stream():
        body += chunk
        if len(body) > ANSWER_BYTES_MAX:
            raise AskError("an answer without end")
    # A compressed answer was not asked for, and may unpack to anything.
    if headers.get("content-encoding", "identity") != "identity":
        raise AskError("a compressed answer")
    return HttpAnswer(status=response.status, headers=headers, body=bytes(body))


def _retry_after_s(answer: HttpAnswer) -> int | None:
    """Seconds that ``Retry-After`` asks for (RFC 9110 section 10.2.3), an hour at most."""
    text = answer.headers.get("retry-after", "").strip()
    if text.isascii() and text.isdigit():
        return min(int(text[:9]), RETRY_AFTER_S_MAX)
    try:
        # The wait is the difference of the server's own two times, so no clock of ours matters.
        asked = parsedate_to_datetime(answer.headers.get("date", ""))
        wait_s = int((parsedate_to_datetime(text) - asked).total_seconds())
    except (ValueError, TypeError, OverflowError):
        return None
    return min(max(wait_s, 0), RETRY_AFTER_S_MAX)


class _Deadline:
    """A time that is counted from its first use."""

    def __init__(self, timeout_s: int) -> None:
        self._timeout_s = timeout_s
        self._ends: float | None = None

    def left_s(self) -> float:
        """Seconds that are left; raises ReadTimeout once there are none."""
        if self._ends is None:
            self._ends = time.monotonic() + self._timeout_s
        left_s = self._ends - time.monotonic()
        if left_s <= 0:
            raise httpcore.ReadTimeout
        return left_s


class _Backend(httpcore.NetworkBackend):
    def __init__(self, deadline: _Deadline) -> None:
        self._deadline = deadline
        self._sockets = httpcore.SyncBackend()

    @override
    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.NetworkStream:
        stream = self._sockets.connect_tcp(
            host, port, self._deadline.left_s(), local_address, socket_options
        )
        return _Stream(stream, self._deadline)


class _Stream(httpcore.NetworkStream):
    def __init__(self, stream: httpcore.NetworkStream, deadline: _Deadline) -> None:
        self._stream, self._deadline = stream, deadline

    @override
    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return self._stream.read(max_bytes, self._deadline.left_s())

    @override
    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._stream.write(buffer, self._deadline.left_s())

    @override
    def close(self) -> None:
        self._stream.close()

    @override
    def start_tls(
        self,
        ssl_context: Any,
        server_hostname: str | None = None,
        timeout: float | None = None,
    ) -> httpcore.NetworkStream:
        stream = self._stream.start_tls(ssl_context, server_hostname, self._deadline.left_s())
        return _Stream(stream, self._deadline)

    @override
    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)
