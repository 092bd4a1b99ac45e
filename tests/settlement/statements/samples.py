"""A day of Aigul's shop, with every kind of movement."""

from datetime import UTC, date, datetime
from decimal import Decimal

from settlement.statements.documents import Movement, MovementKind, PaidTransfer, ShopStatement

DAY = date(2026, 11, 24)
TXID = "4e3d5bd1b4b3aa0a4b2c8f1a9d7e6c5b4a39281706f5e4d3c2b1a09f8e7d6c5b"


def _at(hour: int, minute: int = 0) -> datetime:
    """A moment of the day, by Almaty's clock."""
    return datetime(2026, 11, 24, hour - 5, minute, tzinfo=UTC)


BITCOIN = PaidTransfer(
    network="Bitcoin",
    txid=TXID,
    symbol="BTC",
    quantity=10_000,
    decimals=8,
    price_tiyn=Decimal(4500000000),
)
TETHER = PaidTransfer(
    network="Ethereum",
    txid=f"0x{TXID[::-1]}",
    symbol="USDT",
    quantity=5_000_000,
    decimals=6,
    price_tiyn=Decimal("47512.3456"),
)
MOVEMENTS = (
    Movement(
        at=_at(9, 15),
        kind=MovementKind.SALE,
        amount_tiyn=450_000,
        invoice="Ab3dE9xQ",
        order="№ 17",
        transfers=(BITCOIN,),
    ),
    Movement(
        at=_at(10, 0),
        kind=MovementKind.SALE,
        amount_tiyn=123_456_789,
        invoice="Zz0aB1cD",
        transfers=(BITCOIN, TETHER),
    ),
    Movement(at=_at(10, 0), kind=MovementKind.FEE, amount_tiyn=-1_235, invoice="Zz0aB1cD"),
    Movement(at=_at(11, 30), kind=MovementKind.REVERSAL, amount_tiyn=-450_000, invoice="Ab3dE9xQ"),
    Movement(at=_at(12, 5), kind=MovementKind.REFUND, amount_tiyn=-100_000, invoice="Zz0aB1cD"),
    Movement(at=_at(15), kind=MovementKind.PAYOUT, amount_tiyn=-5_000_050, reference="42"),
    Movement(at=_at(17), kind=MovementKind.PAYOUT_RETURNED, amount_tiyn=5_000_050, reference="42"),
    Movement(at=_at(18), kind=MovementKind.CORRECTION, amount_tiyn=1),
)
STATEMENT = ShopStatement(
    account="ALATAU-7C9E6679",
    shop="Әйгүл дүкені: қымыз, өрік, құрт, жеңіл тағам, ұлттық һәм ірімшік",
    merchant="ЖШС «Дүкен»",
    bin_or_iin="250140000409",
    kbe="17",
    iban="KZ41722C000000000001",
    operator="ТОО «Провайдер»",
    begins_on=DAY,
    ends_on=DAY,
    created_at=datetime(2026, 11, 24, 19, 30, tzinfo=UTC),
    opening_tiyn=5_000_050,
    movements=MOVEMENTS,
    closing_tiyn=5_000_050 + sum(one.amount_tiyn for one in MOVEMENTS),
)
