"""One demand of Aigul's shop, as the merchants' room would have it booked."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal

from django.db import transaction

from chains.assets import Asset
from settlement.accounts import AccountCode
from settlement.entries import (
    Allocation,
    Receipt,
    Received,
    allocate,
    book_receipts,
    reverse_receipts,
)
from settlement.ledger import balance_of
from settlement.rates.quoting import QuoteFact, lock_quotes
from settlement.rates.sources import FixedSource

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)
BTC = Asset(caip19="bip122:0f/slip44:1", symbol="BTC", name="Bitcoin", decimals=8)
USDT = Asset(caip19="eip155:1/erc20:0x0", symbol="USDT", name="Tether USD", decimals=6)
ETH = Asset(caip19="eip155:1/slip44:60", symbol="ETH", name="Ether", decimals=18)
ASSETS = {asset.symbol: asset for asset in (BTC, USDT, ETH)}
RATES = FixedSource(
    {"BTC": Decimal(45_000_000), "USDT": Decimal("475.37"), "ETH": Decimal("1512345.67")}
)


@dataclass(frozen=True)
class Coins:
    """What one output brought."""

    symbol: str
    quantity: int
    on_time: bool = True


@dataclass
class Demand:
    """A demand with its locked quotes, and what stands for it."""

    amount_tiyn: int = 450_000
    name: str = "demand"
    beneficiary: str = "aigul"
    rates: FixedSource = RATES
    quotes: dict[str, QuoteFact] = field(default_factory=dict)
    standing: dict[str, Coins] = field(default_factory=dict)

    def __post_init__(self) -> None:
        priced = [one for one in ASSETS.values() if one.symbol in self.rates.tenge_by_symbol]
        facts = lock_quotes(
            amount_tiyn=self.amount_tiyn,
            assets=priced,
            expires_at=NOW + timedelta(hours=1),
            source=self.rates,
        )
        self.quotes = {asset.symbol: fact for asset, fact in zip(priced, facts, strict=True)}

    @transaction.atomic
    def change(
        self, *, come: dict[str, Coins] | None = None, gone: Iterable[str] = ()
    ) -> Allocation:
        """Book what came, reverse what is gone, and allocate: one batch."""
        self.standing |= come or {}
        self.standing = {key: one for key, one in self.standing.items() if key not in set(gone)}
        reverse_receipts(
            beneficiary=self.beneficiary, sources=list(gone), reason="gone", effective_at=NOW
        )
        book_receipts(
            demand=self.name,
            beneficiary=self.beneficiary,
            receipts=[self.receipt(source, coins) for source, coins in (come or {}).items()],
            effective_at=NOW,
        )
        return allocate(
            demand=self.name,
            beneficiary=self.beneficiary,
            amount_tiyn=self.amount_tiyn,
            received=self.received(),
            effective_at=NOW,
        )

    def receive(
        self, symbol: str, quantity: int, *, source: str = "tx/out:0", on_time: bool = True
    ) -> Allocation:
        """Book one output."""
        return self.change(come={source: Coins(symbol, quantity, on_time=on_time)})

    def take_back(self, source: str) -> Allocation:
        """Let the chain take one output back."""
        return self.change(gone=[source])

    def receipt(self, source: str, coins: Coins) -> Receipt:
        """The output as the ledger is told of it."""
        quote = self.quotes.get(coins.symbol)
        return Receipt(
            source=source,
            asset=ASSETS[coins.symbol].caip19,
            quote_id=quote.id if quote else None,
            quantity=coins.quantity,
        )

    def received(self) -> list[Received]:
        """All that stands, by quote."""
        return [
            Received(
                quote_id=quote.id,
                on_time=sum(
                    one.quantity
                    for one in self.standing.values()
                    if one.symbol == symbol and one.on_time
                ),
                late=sum(
                    one.quantity
                    for one in self.standing.values()
                    if one.symbol == symbol and not one.on_time
                ),
            )
            for symbol, quote in self.quotes.items()
        ]

    def owed(self, account: AccountCode) -> int:
        """Tiyn that an account owes, credit positive."""
        owner = self.beneficiary if account.per_beneficiary else ""
        return -balance_of(account, beneficiary=owner)
