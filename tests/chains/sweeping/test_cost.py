"""Planning costs what is unswept, however much was swept before."""

from importlib import import_module

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from chains.models import Sweep, SweepItem, Transfer
from tests.chains.sweeping.conftest import Sweeping
from tests.explaining import rows_read

pytestmark = pytest.mark.django_db

HISTORY = 3_000


def sweep_all(sweeping: Sweeping) -> None:
    sweeping.send(sweeping.plan())
    sweeping.settle()
    sweeping.follow()
    assert {sweep.state for sweep in Sweep.objects.all()} == {"done"}


def marks() -> dict[int, bool]:
    return dict(Transfer.objects.order_by("pk").values_list("value", "swept"))


def read_by_planning(sweeping: Sweeping) -> int:
    """Rows of transfers that all queries of one plan read."""
    with connection.cursor() as sql:
        sql.execute("ANALYZE chains_transfer")
    with CaptureQueriesContext(
        connection,
    ) as told:
        assert [one.total for one in sweeping.plan().sweeps] == [40_000_000]
    queries = [one["sql"] for one in told if "chains_transfer" in one["sql"]]
    assert len(queries) >= 2
    return sum(rows_read(query, table="chains_transfer") for query in queries)


def test_planning_reads_no_transfer_that_was_swept(sweeping: Sweeping) -> None:
    sweeping.pay("USDT", 30_000_000, "old")
    sweeping.settle()
    sweep_all(sweeping)
    swept = Transfer.objects.get()
    sweeping.pay("USDT", 40_000_000, "new")
    sweeping.settle()
    Transfer.objects.bulk_create(
        Transfer(
            network=swept.network,
            asset=swept.asset,
            address=swept.address,
            txid=f"{number:064x}",
            position="log:0",
            value=1_000_000,
            state=swept.state,
            block=swept.block,
            revision=-number,
            first_seen_at=swept.first_seen_at,
            swept=True,
        )
        for number in range(1, HISTORY + 1)
    )
    assert read_by_planning(sweeping) <= 3
    # And so it would be without the marks: the same plan, at the price of all history.
    Transfer.objects.filter(block=swept.block).update(swept=False)
    assert read_by_planning(sweeping) > HISTORY


def test_only_what_came_before_the_sweeps_block_is_marked(sweeping: Sweeping) -> None:
    sweeping.pay("USDT", 30_000_000)
    sweeping.pay("ETH", 10**16)
    sweeping.settle()
    sweeping.change(minimums=[{"asset": sweeping.asset("USDT").caip19, "value": 1}])
    plan = sweeping.plan()
    evm = sweeping.devnet.evm
    evm.rpc("evm_setAutomine", False)
    try:
        sweeping.pay("USDT", 7_000_000)
        sweeping.send(plan)
        evm.mine(1)
    finally:
        evm.rpc("evm_setAutomine", True)
    sweeping.settle()
    sweeping.follow()
    assert marks() == {30_000_000: True, 10**16: False, 7_000_000: False}
    sweeping.plan()


def test_a_sweep_that_left_something_behind_marks_nothing(sweeping: Sweeping) -> None:
    sweeping.pay("USDT", 30_000_000)
    sweeping.settle()
    plan = sweeping.plan()
    # As if the address had held more when it was planned than left it.
    SweepItem.objects.update(value=30_000_001)
    sweeping.send(plan)
    sweeping.settle()
    sweeping.follow()
    assert marks() == {30_000_000: False}


def test_rows_from_before_the_marks_get_them(sweeping: Sweeping) -> None:
    sweeping.pay("USDT", 30_000_000)
    sweeping.pay("USDT", 50_000_000, "two")
    sweeping.settle()
    sweep_all(sweeping)
    sweeping.pay("USDT", 40_000_000)
    sweeping.settle()
    told = marks()
    assert told == {30_000_000: True, 50_000_000: True, 40_000_000: False}
    Transfer.objects.update(swept=False)
    with connection.cursor() as sql:
        sql.execute(import_module("chains.migrations.0012_unswept_transfers").MARK)
    assert marks() == told
