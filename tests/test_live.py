"""Live events over the real database: no change is lost, and no crowd takes the process down."""

import asyncio
import json
import os
from collections.abc import Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import psycopg
import pytest
from asgiref.sync import sync_to_async
from django.db import connection, connections
from django.utils import timezone

from alatau_pay import live
from alatau_pay.live import Live
from merchants.models import Invoice, Shop

SOON_S = 10.0


@pytest.fixture
def invoice(committed: None, shop: Shop) -> Invoice:
    now = timezone.now()
    return Invoice.objects.create(
        shop=shop,
        amount_tiyn=450_000,
        expires_at=now + timedelta(minutes=5),
        confirm_by=now + timedelta(days=1),
    )


@contextmanager
def database(*, autocommit: bool = True) -> Iterator[psycopg.Connection]:
    name = connection.settings_dict["NAME"]
    with psycopg.connect(os.environ["DATABASE_URL"], dbname=name, autocommit=autocommit) as other:
        yield other


def change(token: str, status: str) -> None:
    with database() as other, other.transaction():
        other.execute("UPDATE merchants_invoice SET status = %s WHERE token = %s", [status, token])
        other.execute("SELECT pg_notify('invoices', %s)", [token])


def in_a_loop(run: Callable[[], Awaitable[None]]) -> None:
    async def main() -> None:
        try:
            await run()
        finally:
            await sync_to_async(connections.close_all)()  # of the thread that read

    asyncio.run(main())


@dataclass
class Page:
    """A browser's side of one request."""

    sent: asyncio.Queue[dict[str, Any]] = field(default_factory=asyncio.Queue)
    left: asyncio.Event = field(default_factory=asyncio.Event)

    async def receive(self) -> dict[str, Any]:
        await self.left.wait()
        return {"type": "http.disconnect"}

    async def next(self) -> dict[str, Any]:
        return await asyncio.wait_for(self.sent.get(), SOON_S)

    async def told(self) -> dict[str, Any]:
        """The next state that the page is told."""
        text = (await self.next())["body"].decode()
        return dict(json.loads(text.removeprefix("data: ")))

    async def told_stage(self, stage: str) -> None:
        while (await self.told())["stage"] != stage:
            pass


@asynccontextmanager
async def page_on(served: Live, token: str) -> Any:  # noqa: ANN401
    page = Page()
    task = asyncio.create_task(served.serve(token, page.receive, page.sent.put))
    try:
        assert (await page.next())["status"] == 200
        yield page
    finally:
        page.left.set()
        await asyncio.wait_for(task, SOON_S)


def wait_until(sql: str) -> None:
    with database() as other:
        for _ in range(1_000):
            if other.execute(sql).fetchone():
                return
            other.execute("SELECT pg_sleep(0.01)")
    raise AssertionError(sql)


READING = "SELECT 1 FROM pg_locks WHERE NOT granted AND relation = 'chains_transfer'::regclass"
LISTENING = """SELECT pid FROM pg_stat_activity
               WHERE datname = current_database() AND query = 'LISTEN invoices'"""


def test_a_change_during_a_read_is_told(invoice: Invoice) -> None:
    async def run() -> None:
        served = Live()
        async with page_on(served, invoice.token) as page:
            assert (await page.told())["stage"] == "open"
            await asyncio.to_thread(wait_until, LISTENING)
            with database(autocommit=False) as lock:
                # The reader has read the invoice when it stops at its transfers.
                lock.execute("LOCK TABLE chains_transfer IN ACCESS EXCLUSIVE MODE")
                await asyncio.to_thread(change, invoice.token, "processing")
                await asyncio.to_thread(wait_until, READING)
                await asyncio.to_thread(change, invoice.token, "settled")
                await asyncio.sleep(0.2)
                lock.rollback()
            await page.told_stage("paid")

    in_a_loop(run)


@pytest.mark.case("R24")
def test_an_expired_invoice_is_still_told_of(invoice: Invoice) -> None:
    change(invoice.token, "expired")

    async def run() -> None:
        async with page_on(Live(), invoice.token) as page:
            await page.told_stage("expired")
            await asyncio.to_thread(wait_until, LISTENING)
            await asyncio.to_thread(change, invoice.token, "settled")
            await page.told_stage("paid")

    in_a_loop(run)


def test_one_read_serves_every_page_of_an_invoice(
    invoice: Invoice, monkeypatch: pytest.MonkeyPatch
) -> None:
    reads = 0
    state = live._state

    async def counted(token: str) -> dict[str, Any] | None:
        nonlocal reads
        reads += 1
        return await state(token)

    monkeypatch.setattr(live, "_state", counted)

    async def run() -> None:
        nonlocal reads
        served = Live()
        async with (
            page_on(served, invoice.token) as one,
            page_on(served, invoice.token) as two,
            page_on(served, invoice.token) as three,
        ):
            await asyncio.to_thread(wait_until, LISTENING)
            await asyncio.sleep(0.2)
            reads = 0
            await asyncio.to_thread(change, invoice.token, "settled")
            for page in (one, two, three):
                await page.told_stage("paid")
            assert reads == 1

    in_a_loop(run)


def test_a_crowd_is_refused_and_a_place_is_free_again_at_once(
    invoice: Invoice, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live, "STREAMS_PER_INVOICE_MAX", 2)

    async def refused(served: Live) -> None:
        page = Page()
        await served.serve(invoice.token, page.receive, page.sent.put)
        assert (await page.next())["status"] == 503

    async def run() -> None:
        served = Live()
        async with page_on(served, invoice.token):
            async with page_on(served, invoice.token):
                await refused(served)
            async with page_on(served, invoice.token):
                assert served.count == 2
            monkeypatch.setattr(live, "STREAMS_MAX", 1)
            await refused(served)
        assert served.count == 0

    in_a_loop(run)


@pytest.mark.case("R116")
def test_the_listener_comes_back_from_whatever_ended_it(invoice: Invoice) -> None:
    def cut() -> None:
        wait_until(LISTENING)
        with database() as other:
            ((pid,),) = other.execute(LISTENING).fetchall()
            other.execute("SELECT pg_terminate_backend(%s)", [pid])
        wait_until(f"{LISTENING} AND pid <> {pid}")

    async def run() -> None:
        async with page_on(Live(), invoice.token) as page:
            await page.told()
            await asyncio.to_thread(cut)
            await asyncio.to_thread(change, invoice.token, "settled")
            await page.told_stage("paid")

    in_a_loop(run)


@pytest.mark.case("R112")
@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/live/health", 200),
        ("GET", "/live/invoices/AAAAAAAAAAAAAAAAAAAAAA", 404),
        ("POST", "/live/invoices/{token}", 404),
        ("GET", "/live/invoices/{token}/x", 404),
    ],
)
def test_only_an_invoices_own_token_opens_its_stream(
    method: str, path: str, status: int, invoice: Invoice
) -> None:
    async def run() -> None:
        page = Page()
        scope = {"type": "http", "method": method, "path": path.format(token=invoice.token)}
        await live.application(scope, page.receive, page.sent.put)
        assert (await page.next())["status"] == status

    in_a_loop(run)
