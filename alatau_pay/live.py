"""The small ASGI app for events: one open page, one stream (server-sent events, WHATWG HTML).

One PostgreSQL connection listens for all pages. A stream says the state when it opens, at every
change, and every HEARTBEAT_S: confirmations grow and time runs without a change of the invoice. A
page whose stream is not open, or silent, polls.
"""

import asyncio
import contextlib
import json
import os
import re
from collections import defaultdict
from collections.abc import Awaitable, Callable
from typing import Any, Final

import django
import psycopg
from asgiref.sync import sync_to_async

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "alatau_pay.settings")
django.setup()

from django.conf import settings  # noqa: E402
from django.db import close_old_connections, connection  # noqa: E402

from merchants.checkout_state import checkout_of  # noqa: E402
from merchants.models import Invoice  # noqa: E402

Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]

PATH: Final = re.compile(r"/live/invoices/([A-Za-z0-9_-]{16,32})")
HEARTBEAT_S: Final = 15.0
RETRY_S: Final = 1.0
DJANGO_S_OWN: Final = {"context", "cursor_factory", "prepare_threshold"}
"""Connection parameters that only Django's own cursors take."""

_pages: defaultdict[str, set[asyncio.Event]] = defaultdict(set)
_listening: set[asyncio.Task[None]] = set()


async def application(scope: dict[str, Any], receive: Receive, send: Send) -> None:
    """Serve ``/live/invoices/<token>`` and ``/live/health``."""
    if scope["type"] != "http":
        return
    match = PATH.fullmatch(scope["path"])
    if scope["path"] == "/live/health":
        await _answer(send, 200, b"ok\n")
    elif scope["method"] != "GET" or match is None or await _state(match[1]) is None:
        await _answer(send, 404, b"not found\n")
    else:
        await _stream(match[1], receive, send)


async def _stream(token: str, receive: Receive, send: Send) -> None:
    if not _listening:
        task = asyncio.create_task(_listen())
        _listening.add(task)
    changed = asyncio.Event()
    changed.set()
    _pages[token].add(changed)
    headers = [
        (b"content-type", b"text/event-stream"),
        (b"cache-control", b"no-store"),
        (b"access-control-allow-origin", settings.PUBLIC_URL.encode()),
        (b"x-accel-buffering", b"no"),
    ]
    gone = asyncio.create_task(_disconnected(receive))
    try:
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        while not gone.done():
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(changed.wait(), HEARTBEAT_S)
            changed.clear()
            text = f"data: {json.dumps(await _state(token))}\n\n"
            await send({"type": "http.response.body", "body": text.encode(), "more_body": True})
    finally:
        gone.cancel()
        _pages[token].discard(changed)
        if not _pages[token]:
            del _pages[token]


async def _listen() -> None:
    """Wake the pages of every invoice that PostgreSQL notifies; connect anew after a failure."""
    while True:
        try:
            parameters = await sync_to_async(connection.get_connection_params)()
            wanted = {key: parameters[key] for key in parameters if key not in DJANGO_S_OWN}
            async with await psycopg.AsyncConnection.connect(autocommit=True, **wanted) as listener:
                await listener.execute("LISTEN invoices")
                for events in _pages.values():
                    for event in events:
                        event.set()  # whatever was said while nobody listened
                async for notice in listener.notifies():
                    for event in _pages.get(notice.payload, ()):
                        event.set()
        except psycopg.OperationalError:
            await asyncio.sleep(RETRY_S)


async def _disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


@sync_to_async
def _state(token: str) -> dict[str, Any] | None:
    close_old_connections()
    invoice = Invoice.objects.filter(token=token).first()
    return checkout_of(invoice).as_json() if invoice else None


async def _answer(send: Send, status: int, body: bytes) -> None:
    headers = [(b"content-type", b"text/plain")]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
