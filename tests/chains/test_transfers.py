"""Reading an invoice's transfers: totals and the newest say what all say, and cost less."""

from collections.abc import Callable

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from alatau_pay.devnet import anvil
from chains.models import Address, Cursor, Transfer, TransferState
from chains.transfers import (
    TransferFact,
    TransferTotal,
    newest_transfers_of,
    totals_of,
    transfer_named,
    transfers_of,
)
from tests.explaining import rows_read

pytestmark = pytest.mark.django_db

COUNTED = (TransferState.SEEN, TransferState.INCLUDED, TransferState.FINAL)
DUST = 500
OTHERS = 3_000


@pytest.fixture
def flooded(db: None) -> list[TransferFact]:
    """Every transfer to the address of ``one``, among thousands of addresses."""
    Cursor.objects.create(network=anvil.CAIP2, height=1, hash="1")
    addresses = Address.objects.bulk_create(
        Address(
            network=anvil.CAIP2,
            text=f"0x{number:040x}",
            script=number.to_bytes(20, "big"),
            reference="one" if number == 1 else f"n{number}",
        )
        for number in range(1, OTHERS)
    )
    Transfer.objects.bulk_create(
        Transfer(
            network=anvil.CAIP2,
            asset=f"{anvil.CAIP2}/{'slip44:60' if number % 5 else 'erc20:0x1'}",
            address=addresses[0],
            txid=f"{number // 2:064x}",
            position=f"log:{number % 2}",
            variant=0,
            value=number + 1,
            state="dropped" if number % 7 == 0 else "seen",
            revision=number,
            first_seen_at=timezone.now(),
        )
        for number in range(DUST)
    )
    with connection.cursor() as sql:
        sql.execute("ANALYZE chains_address, chains_transfer")
    return transfers_of(references=["one"])


@pytest.mark.case("R26")
def test_totals_and_the_newest_say_what_all_transfers_say(flooded: list[TransferFact]) -> None:
    counted = [one for one in flooded if one.state in COUNTED]
    assert newest_transfers_of(references=["one"], states=COUNTED, limit=10) == counted[-10:]
    by_asset: dict[str, list[int]] = {}
    for one in counted:
        by_asset.setdefault(one.asset, []).append(one.value)
    assert totals_of(references=["one"], states=COUNTED) == [
        TransferTotal(asset=asset, count=len(values), value=sum(values))
        for asset, values in sorted(by_asset.items())
    ]
    assert totals_of(references=["n2"], states=COUNTED) == []


def test_a_transfer_is_found_by_its_identity(flooded: list[TransferFact]) -> None:
    for fact in flooded[::50]:
        assert transfer_named(fact.identity) == fact
        assert transfer_named(f"{fact.identity}~1") is None


READS: dict[str, Callable[[], object]] = {
    "all": lambda: transfers_of(references=["one"]),
    "newest": lambda: newest_transfers_of(references=["one"], states=COUNTED, limit=10),
    "totals": lambda: totals_of(references=["one"], states=COUNTED),
}


@pytest.mark.parametrize("read", READS)
def test_no_other_invoices_address_is_read(read: str, flooded: list[TransferFact]) -> None:
    with CaptureQueriesContext(connection) as told:
        READS[read]()
    (query,) = [one["sql"] for one in told if "chains_transfer" in one["sql"]]
    assert rows_read(query, table="chains_address") <= DUST
