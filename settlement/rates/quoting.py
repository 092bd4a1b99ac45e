"""Lock a rate: what one amount in tenge costs in each asset, kept for ever as a row."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from fractions import Fraction
from uuid import UUID

import structlog
from django.conf import settings

from chains.assets import Asset
from settlement import money
from settlement.clock import database_now
from settlement.models import Quote
from settlement.rates.observations import OfficialRate
from settlement.rates.provenance import provenance_to_keep
from settlement.rates.rating import official_of
from settlement.rates.sources import Price, RateSource, RateUnavailableError

log = structlog.get_logger(__name__)


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
    """Lock one quote for each asset that has a rate; ``expires_at`` is UTC.

    The operator's spread (``RATE_SPREAD_BP``) makes a coin worth less than its rate. Raises
    RateUnavailableError where no asset has a rate, ValueError for an amount that is not positive,
    TypeError.
    """
    if money.exact_int(amount_tiyn, name="amount_tiyn") <= 0:
        raise ValueError("amount_tiyn must be positive")
    prices, missing = _prices(assets, source)
    if missing:
        log.warning("assets without a rate", missing=missing)
    if missing and not prices:
        raise RateUnavailableError(" ".join(missing))
    official = next(iter(official_of(database_now())), None)
    quotes = [
        _quote(amount_tiyn, asset, price, expires_at=expires_at, official=official)
        for asset, price in prices
    ]
    return [_fact(quote) for quote in Quote.objects.bulk_create(quotes)]


def quotes_of(ids: Collection[UUID]) -> dict[UUID, QuoteFact]:
    """The locked quotes with these ids, by id."""
    return {quote.id: _fact(quote) for quote in Quote.objects.filter(pk__in=ids)}


def worth_exact(quote: QuoteFact, *, quantity: int) -> Fraction:
    """Tiyn, unrounded, that base units are worth at a quote."""
    return money.worth_exact(
        quantity=quantity, price_tiyn=quote.price_tiyn, decimals=quote.decimals
    )


def worth_of_one_step(quote: QuoteFact) -> Fraction:
    """Tiyn, unrounded, that the finest amount that a payer is asked for is worth at a quote."""
    return money.worth_of_one_step(price_tiyn=quote.price_tiyn, decimals=quote.decimals)


def quantity_for(quote: QuoteFact, *, amount_tiyn: int | Fraction) -> int:
    """Base units, in whole payable steps, worth at least ``amount_tiyn`` at a quote."""
    return money.quantity_rounded_up(
        amount_tiyn=amount_tiyn, price_tiyn=quote.price_tiyn, decimals=quote.decimals
    )


def _prices(
    assets: Sequence[Asset], source: RateSource
) -> tuple[list[tuple[Asset, Price]], list[str]]:
    """Each asset's price, and why the others have none."""
    prices: list[tuple[Asset, Price]] = []
    missing: dict[str, None] = {}
    for asset in assets:
        try:
            prices.append((asset, source.price_of(asset)))
        except RateUnavailableError as error:
            missing[str(error)] = None
    return prices, list(missing)


def _quote(
    amount_tiyn: int,
    asset: Asset,
    price: Price,
    *,
    expires_at: datetime,
    official: OfficialRate | None,
) -> Quote:
    spread_bp = settings.RATE_SPREAD_BP
    price_tiyn = money.price_in_tiyn(price.tenge, spread_bp=spread_bp)
    return Quote(
        asset=asset.caip19,
        decimals=asset.decimals,
        amount_tiyn=amount_tiyn,
        quantity=money.quantity_rounded_up(
            amount_tiyn=amount_tiyn, price_tiyn=price_tiyn, decimals=asset.decimals
        ),
        price_tiyn=price_tiyn,
        source=price.source,
        provenance=provenance_to_keep(price, spread_bp=spread_bp, official=official),
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
