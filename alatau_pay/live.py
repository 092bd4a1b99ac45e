"""The small ASGI app for events: one open page, one stream (server-sent events, WHATWG HTML).

One PostgreSQL connection listens for all invoices, and one reader reads each invoice that is
watched, however many streams watch it. A stream says the state when it opens, at every change, and
every HEARTBEAT_S: confirmations grow and time runs without a change of the invoice. It goes on when
the invoice expires, for a payment may still be found. A page whose stream is refused, not open, or
silent, polls.
"""

import asyncio
import contextlib
import json
import os
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, Final

import django
import psycopg
import structlog
from asgiref.sync import sync_to_async

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "alatau_pay.settings")
django.setup()

from django.conf import settings  # noqa: E402
from django.db import close_old_connections, connection  # noqa: E402

from merchants.checkout_state import checkout_of  # noqa: E402
from merchants.models import Invoice  # noqa: E402

log = structlog.get_logger(__name__)

Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]

PATH: Final = re.compile(r"/live/invoices/([A-Za-z0-9_-]{16,32})")
HEARTBEAT_S: Final = 15.0
RETRY_S: Final = 1.0
STREAMS_MAX: Final = 2_000
"""Of one process: each costs a connection, and each invoice among them a read every HEARTBEAT_S."""
STREAMS_PER_INVOICE_MAX: Final = 20
DJANGO_S_OWN: Final = {"context", "cursor_factory", "prepare_threshold"}
"""Connection parameters that only Django's own cursors take."""


@dataclass(eq=False, slots=True)
class Stream:
    """One open page; ``text`` is the last that it must be told, however slowly it takes it."""

    text: bytes = b""
    woken: asyncio.Event = field(default_factory=asyncio.Event)
    is_gone: bool = False


@dataclass(eq=False, slots=True)
class Watch:
    """One invoice that is watched, by how many streams whatsoever."""

    token: str
    streams: set[Stream] = field(default_factory=set)
    changed: asyncio.Event = field(default_factory=asyncio.Event)


class Live:
    """Every open stream of one process."""

    def __init__(self) -> None:
        self._watches: dict[str, Watch] = {}
        self._readers: dict[str, asyncio.Task[None]] = {}
        self._listener: asyncio.Task[None] | None = None

    async def serve(self, token: str, receive: Receive, send: Send) -> None:
        """Stream an invoice's state until the page leaves; 503 where too many watch already."""
        watch = self._watches.get(token) or Watch(token)
        if self.count >= STREAMS_MAX or len(watch.streams) >= STREAMS_PER_INVOICE_MAX:
            await _answer(send, 503, b"too many pages are open; this one polls\n")
            return
        stream = self._open(watch)
        leaving = asyncio.create_task(_leave(stream, receive))
        try:
            await _begin(send)
            while await stream.woken.wait() and not stream.is_gone:
                stream.woken.clear()
                body = {"type": "http.response.body", "body": stream.text, "more_body": True}
                await send(body)
        finally:
            leaving.cancel()
            self._close(watch, stream)

    @property
    def count(self) -> int:
        """How many streams are open."""
        return sum(len(watch.streams) for watch in self._watches.values())

    def _open(self, watch: Watch) -> Stream:
        if self._listener is None or self._listener.done():
            self._listener = asyncio.create_task(self._listen())
        stream = Stream()
        watch.streams.add(stream)
        self._watches[watch.token] = watch
        if watch.token not in self._readers:
            self._readers[watch.token] = asyncio.create_task(_read(watch))
        watch.changed.set()
        return stream

    def _close(self, watch: Watch, stream: Stream) -> None:
        watch.streams.discard(stream)
        if not watch.streams:
            del self._watches[watch.token]
            self._readers.pop(watch.token).cancel()

    async def _listen(self) -> None:
        """Wake the readers of every invoice that PostgreSQL notifies; start anew for ever."""
        while True:
            try:
                await self._hear()
            except Exception as error:  # noqa: BLE001 -- whatever it was, pages must be woken again
                log.warning("no live events, pages still poll", error=repr(error))
            await asyncio.sleep(RETRY_S)

    async def _hear(self) -> None:
        parameters = await sync_to_async(connection.get_connection_params)()
        wanted = {key: parameters[key] for key in parameters if key not in DJANGO_S_OWN}
        async with await psycopg.AsyncConnection.connect(autocommit=True, **wanted) as listener:
            await listener.execute("LISTEN invoices")
            for watch in self._watches.values():
                watch.changed.set()  # whatever was said while nobody listened
            while True:
                async for notice in listener.notifies(timeout=HEARTBEAT_S):
                    if notice.payload in self._watches:
                        self._watches[notice.payload].changed.set()
                # A connection that died in silence would listen for ever.
                await listener.execute("SELECT 1")


async def _read(watch: Watch) -> None:
    """Read an invoice once for all its streams, at every change and every HEARTBEAT_S."""
    while True:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(watch.changed.wait(), HEARTBEAT_S)
        # Before the read: what changes during it asks for another.
        watch.changed.clear()
        try:
            text = f"data: {json.dumps(await _state(watch.token))}\n\n".encode()
        except Exception as error:  # noqa: BLE001 -- the database comes back, and the pages still wait
            log.warning("an open page could not be told", error=repr(error))
            await asyncio.sleep(RETRY_S)
            watch.changed.set()
            continue
        for stream in watch.streams:
            stream.text = text
            stream.woken.set()


async def _leave(stream: Stream, receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    stream.is_gone = True
    stream.woken.set()


@sync_to_async
def _state(token: str) -> dict[str, Any] | None:
    close_old_connections()
    invoice = Invoice.objects.filter(token=token).first()
    return checkout_of(invoice).as_json() if invoice else None


@sync_to_async
def _exists(token: str) -> bool:
    close_old_connections()
    return Invoice.objects.filter(token=token).exists()


async def _begin(send: Send) -> None:
    headers = [
        (b"content-type", b"text/event-stream"),
        (b"cache-control", b"no-store"),
        (b"access-control-allow-origin", settings.PUBLIC_URL.encode()),
        (b"x-accel-buffering", b"no"),
    ]
    await send({"type": "http.response.start", "status": 200, "headers": headers})


async def _answer(send: Send, status: int, body: bytes) -> None:
    headers = [(b"content-type", b"text/plain")]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


_live = Live()


async def application(scope: dict[str, Any], receive: Receive, send: Send) -> None:
    """Serve ``/live/invoices/<token>`` and ``/live/health``."""
    if scope["type"] != "http":
        return
    match = PATH.fullmatch(scope["path"])
    if scope["path"] == "/live/health":
        await _answer(send, 200, b"ok\n")
    elif scope["method"] != "GET" or match is None or not await _exists(match[1]):
        await _answer(send, 404, b"not found\n")
    else:
        await _live.serve(match[1], receive, send)
