"""Lock a rate: what one amount in tenge costs in each asset, kept for ever as a row."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from uuid import UUID

from chains.assets import Asset
from settlement.models import Quote
from settlement.money import exact_int, price_in_tiyn, quantity_rounded_up
from settlement.rates.sources import RateSource


@dataclass(frozen=True, slots=True, kw_only=True)
class QuoteFact:
    """A locked quote: ``quantity`` base units are worth at least ``amount_tiyn`` at the rate."""

    id: UUID
    asset: str
    decimals: int
    amount_tiyn: int
    quantity: int
    price_tiyn: Decimal
    expires_at: datetime


def lock_quotes(
    *, amount_tiyn: int, assets: Sequence[Asset], expires_at: datetime, source: RateSource
) -> list[QuoteFact]:
    """Lock one quote for each asset; ``expires_at`` is UTC.

    Raises RateUnavailableError, ValueError for an amount that is not positive, TypeError.
    """
    if exact_int(amount_tiyn, name="amount_tiyn") <= 0:
        raise ValueError("amount_tiyn must be positive")
    quotes = [_quote(amount_tiyn, asset, expires_at, source) for asset in assets]
    return [_fact(quote) for quote in Quote.objects.bulk_create(quotes)]


def _quote(amount_tiyn: int, asset: Asset, expires_at: datetime, source: RateSource) -> Quote:
    price = source.price_of(asset)
    price_tiyn = price_in_tiyn(price.tenge)
    return Quote(
        asset=asset.caip19,
        decimals=asset.decimals,
        amount_tiyn=amount_tiyn,
        quantity=quantity_rounded_up(
            amount_tiyn=amount_tiyn, price_tiyn=price_tiyn, decimals=asset.decimals
        ),
        price_tiyn=price_tiyn,
        source=price.source,
        provenance={"tenge": str(price.tenge), "source": price.source},
        observed_at=price.observed_at,
        expires_at=expires_at,
    )


def _fact(quote: Quote) -> QuoteFact:
    return QuoteFact(
        id=quote.id,
        asset=quote.asset,
        decimals=quote.decimals,
        amount_tiyn=quote.amount_tiyn,
        quantity=int(quote.quantity),
        price_tiyn=quote.price_tiyn,
        expires_at=quote.expires_at,
    )
