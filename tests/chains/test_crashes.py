"""A scan that is killed while it stores: the cursor moves with what was stored, or not at all."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
import pytest
from django.db import connection, connections

from alatau_pay.devnet import anvil, bitcoind
from alatau_pay.devnet.nodes import Devnet
from chains.addresses import allocate_address
from chains.models import Block, Cursor, Inclusion, Transfer
from chains.networks import node_for, registry
from chains.scanning import scan_network
from tests.waiting import wait_until

STEPS = {
    "before anything": ("chains_block", "INSERT"),
    "before the payment": ("chains_transfer", "INSERT"),
    "before its inclusion": ("chains_inclusion", "INSERT"),
    "before the cursor": ("chains_cursor", "UPDATE"),
}


@contextmanager
def another_session() -> Iterator[psycopg.Connection]:
    wanted = connection.get_connection_params()
    names = ("dbname", "user", "password", "host", "port")
    fields = {key: wanted[key] for key in names if key in wanted}
    with psycopg.connect(autocommit=True, **fields) as session:
        yield session


@contextmanager
def held_up(other: psycopg.Connection, table: str, action: str) -> Iterator[None]:
    """Whoever is about to write to a table waits for a lock that another session holds."""
    other.execute("SELECT pg_advisory_lock(42)")
    other.execute(
        "CREATE FUNCTION wait_here() RETURNS trigger LANGUAGE plpgsql AS "
        "$$ BEGIN PERFORM pg_advisory_xact_lock(42); RETURN NEW; END $$"
    )
    other.execute(
        f"CREATE TRIGGER wait_here BEFORE {action} ON {table} "
        "FOR EACH ROW EXECUTE FUNCTION wait_here()"
    )
    try:
        yield
    finally:
        other.execute("DROP FUNCTION wait_here() CASCADE")
        other.execute("SELECT pg_advisory_unlock(42)")


def scan(caip2: str) -> None:
    network = registry().networks[caip2]
    assert scan_network(network=network, node=node_for(network)).caught_up


def stored() -> list[list[tuple[object, ...]]]:
    return [
        list(model.objects.order_by("pk").values_list())
        for model in (Transfer, Inclusion, Block, Cursor)
    ]


@pytest.mark.case("R42")
@pytest.mark.case("R113")
@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("caip2", [bitcoind.CAIP2, anvil.CAIP2])
def test_a_scan_killed_between_two_writes_has_written_nothing(
    caip2: str, step: str, networks: Devnet, committed: None
) -> None:
    scan(caip2)
    network = registry().networks[caip2]
    to = allocate_address(network=network, reference="one").text
    if caip2 == bitcoind.CAIP2:
        networks.bitcoin.pay(address=to, value_sat=50_000)
        networks.bitcoin.mine(1)
    else:
        networks.evm.pay(address=to, value=50_000, token=networks.evm.usdt)
    before = stored()
    killed: list[Exception] = []

    def work() -> None:
        try:
            scan(caip2)
        except Exception as error:  # noqa: BLE001 -- whatever a lost session raises
            killed.append(error)
        finally:
            connections.close_all()

    with another_session() as other:
        waits = (
            "SELECT pid FROM pg_stat_activity WHERE datname = current_database() "
            "AND wait_event_type = 'Lock' AND wait_event = 'advisory'"
        )
        with held_up(other, *STEPS[step]):
            thread = threading.Thread(target=work)
            thread.start()
            wait_until(lambda: other.execute(waits).fetchone() is not None)
            # What is written and not committed is nobody's yet.
            assert stored() == before
            (pid,) = other.execute(waits).fetchone() or (0,)
            assert other.execute("SELECT pg_terminate_backend(%s)", [pid]).fetchone() == (True,)
            thread.join()
    assert len(killed) == 1
    assert stored() == before
    for _round in range(2):
        scan(caip2)
    assert [int(one.value) for one in Transfer.objects.all()] == [50_000]
    assert Inclusion.objects.count() == 1
