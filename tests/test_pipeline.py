"""Tasks only poke: a taken lock sends them home, and no chain of them ever becomes two."""

import contextlib
import json
import os
import socket
import threading
from base64 import b64decode
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psycopg
import pytest
from celery import current_app
from django.db import connection, connections
from pytest_django.fixtures import Settings
from redis import Redis

from alatau_pay.celery import app
from alatau_pay.devnet import bitcoind
from alatau_pay.devnet.nodes import Devnet
from alatau_pay.engines import REPOSITORY
from alatau_pay.pipeline import EXPIRES_S, observe_rates, scan_network, scan_networks
from alatau_pay.workers import WORKERS
from chains.health import health_of
from chains.locks import scanning_alone
from chains.models import Cursor
from chains.networks import registry
from chains.pool import endpoint_name
from settlement.rates.observing import sources
from tests.waiting import wait_until

pytestmark = pytest.mark.xdist_group("broker")


@pytest.fixture
def broker() -> Iterator[Redis]:
    """The broker, emptied; no other test sends to it."""
    app.set_current()
    app.set_default()  # threads of a test, too
    with contextlib.closing(Redis.from_url(os.environ["REDIS_URL"])) as client:
        client.flushdb()
        yield client
        client.flushdb()


def sent(broker: Redis, queue: str) -> list[dict[str, Any]]:
    return [json.loads(message) for message in broker.lrange(queue, 0, -1)]


@contextlib.contextmanager
def another_session() -> Iterator[psycopg.Connection]:
    parameters = connection.get_connection_params()
    wanted = {
        key: parameters[key] for key in ("dbname", "user", "host", "port") if key in parameters
    }
    with psycopg.connect(autocommit=True, **wanted) as session:
        yield session


class Gate:
    """A door before a node: connections wait until it is opened."""

    def __init__(self, port: int) -> None:
        self.node, self.opened, self.knocked = port, threading.Event(), threading.Event()
        self.door = socket.create_server(("127.0.0.1", 0))
        self.port: int = self.door.getsockname()[1]
        threading.Thread(target=self._let_in, daemon=True).start()

    def _let_in(self) -> None:
        with contextlib.suppress(OSError):  # the door is closed at the end
            while True:
                guest, _address = self.door.accept()
                self.knocked.set()
                threading.Thread(target=self._lead, args=(guest,), daemon=True).start()

    def _lead(self, guest: socket.socket) -> None:
        self.opened.wait()
        host = socket.create_connection(("127.0.0.1", self.node))
        back = threading.Thread(target=self._carry, args=(host, guest), daemon=True)
        back.start()
        self._carry(guest, host)

    def _carry(self, source: socket.socket, target: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while content := source.recv(65536):
                target.sendall(content)
        with contextlib.suppress(OSError):
            target.shutdown(socket.SHUT_WR)


@pytest.fixture
def gate(networks: Devnet, settings: Settings) -> Iterator[Gate]:
    """The registry's bitcoind, behind a gate."""
    url = urlsplit(networks.bitcoin.rpc_url)
    assert url.port is not None
    gate = Gate(url.port)
    name_endpoints(settings, networks.bitcoin.rpc_url.replace(str(url.port), str(gate.port)))
    yield gate
    gate.opened.set()
    gate.door.close()


def name_endpoints(settings: Settings, *urls: str) -> None:
    path = Path(settings.NETWORKS_FILE)
    content = json.loads(path.read_text())
    content["networks"][0]["endpoints"] = urls
    path.write_text(json.dumps(content))


def in_a_worker_s_thread(caip2: str) -> threading.Thread:
    def work() -> None:
        scan_network(caip2)
        connections.close_all()

    thread = threading.Thread(target=work)
    thread.start()
    return thread


@pytest.mark.case("R66")
def test_a_scan_that_finds_another_under_way_returns_at_once(
    networks: Devnet, broker: Redis, committed: None
) -> None:
    with another_session() as other:
        other.execute(
            "SELECT pg_advisory_lock(hashtextextended('scan ' || %s, 0))", [bitcoind.CAIP2]
        )
        scan_network(bitcoind.CAIP2)
        assert not Cursor.objects.exists()
        assert sent(broker, "chains") == []
    wait_until(lambda: is_free(bitcoind.CAIP2))
    scan_network(bitcoind.CAIP2)
    assert Cursor.objects.filter(network=bitcoind.CAIP2).exists()


def is_free(caip2: str) -> bool:
    with scanning_alone(caip2) as alone:
        return alone


def test_a_lock_is_free_again_after_the_scan_and_after_its_session_was_lost(
    committed: None,
) -> None:
    with scanning_alone("bip122:x") as alone, another_session() as other:
        assert alone
        taken = "SELECT pg_try_advisory_lock(hashtextextended('scan bip122:x', 0))"
        assert other.execute(taken).fetchone() == (False,)
        with connection.cursor() as sql:
            sql.execute("SELECT pg_backend_pid()")
            (pid,) = sql.fetchone()
        other.execute("SELECT pg_terminate_backend(%s)", [pid])
        wait_until(lambda: other.execute(taken).fetchone() == (True,))
    connection.close()
    with scanning_alone("bip122:x") as alone:
        assert alone


@pytest.mark.case("R66")
def test_pokes_during_a_scan_make_one_more_scan_and_no_more(
    gate: Gate, broker: Redis, committed: None
) -> None:
    scanning = in_a_worker_s_thread(bitcoind.CAIP2)
    assert gate.knocked.wait(30)
    for _poke in range(5):
        scan_network(bitcoind.CAIP2)
    assert sent(broker, "chains") == []
    gate.opened.set()
    scanning.join()
    assert [message["headers"]["argsrepr"] for message in sent(broker, "chains")] == [
        f"('{bitcoind.CAIP2}',)"
    ]


@pytest.mark.case("R36")
@pytest.mark.case("R20")
def test_a_scan_tells_how_its_nodes_do(
    networks: Devnet, settings: Settings, broker: Redis, committed: None
) -> None:
    scan_network(bitcoind.CAIP2)
    (up,) = health_of(network=bitcoind.CAIP2).endpoints
    assert (up.name, up.speaks, up.is_up, up.lag_blocks, up.last_error) == (
        endpoint_name(networks.bitcoin.rpc_url),
        True,
        True,
        0,
        "",
    )
    name_endpoints(settings, "http://u:hidden@127.0.0.1:9")
    broker.flushdb()
    scan_network(bitcoind.CAIP2)
    health = health_of(network=bitcoind.CAIP2)
    (down,) = health.endpoints
    assert (down.name, down.speaks, down.is_up, health.is_up) == (
        "127.0.0.1:9",
        False,
        False,
        False,
    )
    assert "endpoints in NETWORKS_FILE" in down.last_error
    assert "hidden" not in down.last_error
    assert down.last_error_at == down.told_at
    assert health.scanned_height == up.tip_height
    assert sent(broker, "chains") == []  # the beat asks again, not the failed scan


@pytest.mark.case("R114")
def test_every_message_expires(networks: Devnet, broker: Redis) -> None:
    scan_networks()
    messages = sent(broker, "chains")
    assert len(messages) == len(registry().networks)
    for message in messages:
        expires = datetime.fromisoformat(message["headers"]["expires"])
        assert 0 < (expires - datetime.now(UTC)).total_seconds() <= EXPIRES_S
    ours = [task for name, task in current_app.tasks.items() if name.startswith("alatau_pay.")]
    assert len(ours) == 11
    assert {task.expires for task in ours} == {EXPIRES_S}


@pytest.mark.django_db
def test_sources_of_rates_are_asked_in_turn_unless_rates_are_fixed(
    broker: Redis, settings: Settings
) -> None:
    observe_rates()
    assert not sent(broker, "chains")
    settings.FIXED_RATES = {}
    observe_rates()
    asked = [json.loads(b64decode(one["body"]))[0] for one in sent(broker, "chains")]
    assert sorted(asked) == sorted([source] for source in sources())
    settings.RATES_FILE = "/nonexistent"
    observe_rates()
    assert len(sent(broker, "chains")) == len(asked)


def test_scans_and_invoices_have_workers_of_their_own() -> None:
    queues = {
        name: app.amqp.router.route({}, f"alatau_pay.pipeline.{name}")["queue"].name
        for name in ("scan_networks", "scan_network", "apply_transfers", "expire_invoices")
    }
    assert queues == {
        "scan_networks": "chains",
        "scan_network": "chains",
        "apply_transfers": "default",
        "expire_invoices": "default",
    }
    compose = (REPOSITORY / "compose.yaml").read_text()
    for options in WORKERS.values():
        assert json.dumps(list(options))[1:-1] in compose
