"""The worked examples of docs/ledger.md, executed."""

import re
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path

import pytest
from django.db import transaction

from settlement.models import Posting
from settlement.rates.sources import FixedSource, Price
from settlement.treasury import book_sweep, book_sweep_gas
from tests.settlement.demand import ETH, NOW, USDT, Coins, Demand

PAGE = (Path(__file__).resolve().parents[2] / "docs/ledger.md").read_text()
PRICES = FixedSource({"BTC": Decimal(45_000_000), "USDT": Decimal(475)})


def paid_exactly(demand: Demand) -> None:
    demand.receive("BTC", 10_000)


def paid_in_two_parts(demand: Demand) -> None:
    demand.receive("BTC", 6_000, source="first")
    demand.receive("BTC", 4_000, source="second")


def paid_twice(demand: Demand) -> None:
    demand.receive("BTC", 10_000, source="first")
    demand.receive("BTC", 10_000, source="second")
    demand.take_back("first")


def paid_too_late(demand: Demand) -> None:
    demand.receive("BTC", 10_000, on_time=False)


def dust(demand: Demand) -> None:
    demand.change(come={f"tx/log:{number}": Coins("USDT", 9) for number in range(3)})


def a_coin_without_a_price(demand: Demand) -> None:
    demand.receive("ETH", 5 * 10**17)


def swept_to_the_treasury(demand: Demand) -> None:
    demand.receive("USDT", 9_473_685)
    with transaction.atomic():
        book_sweep_gas(
            source="tx",
            asset=ETH.caip19,
            decimals=ETH.decimals,
            quantity=10**14,
            price=Price(tenge=Decimal(1_500_000), source="fixed", observed_at=NOW),
            effective_at=NOW,
        )
        book_sweep(source="tx/moved", asset=USDT.caip19, quantity=9_473_685, effective_at=NOW)


EXAMPLES: dict[str, Callable[[Demand], None]] = {
    "Paid exactly": paid_exactly,
    "Paid in two parts": paid_in_two_parts,
    "Paid twice, and the first taken back": paid_twice,
    "Paid too late": paid_too_late,
    "Dust": dust,
    "A coin without a price": a_coin_without_a_price,
    "Swept to the treasury": swept_to_the_treasury,
}


def tiyn(text: str) -> int:
    return int(text.replace(" ", "").replace(",", "") or "0")


def rows_of(heading: str) -> list[tuple[str, str, int, int]]:
    """The table under a heading: kind, account, tiyn (debit positive), base units."""
    section = PAGE.split(f"\n### {heading}\n")[1].split("\n#")[0]
    lines = [line[1:-1].split("|") for line in section.splitlines() if line.startswith("| ")]
    return [
        (kind.strip(), account.strip(" `"), tiyn(debit) - tiyn(credit), tiyn(units))
        for kind, account, debit, credit, units in lines[1:]
    ]


def test_every_example_is_executed() -> None:
    assert re.findall(r"^### (.+)$", PAGE, re.MULTILINE) == list(EXAMPLES)


@pytest.mark.django_db
@pytest.mark.usefixtures("app_role")
@pytest.mark.parametrize("heading", EXAMPLES)
def test_an_example_is_booked_as_the_page_says(heading: str) -> None:
    EXAMPLES[heading](Demand(rates=PRICES))
    posted = Posting.objects.select_related("entry", "account").order_by("entry_id", "pk")
    assert rows_of(heading) == [
        (one.entry.kind, one.account.code, one.amount_tiyn, int(one.quantity)) for one in posted
    ]
