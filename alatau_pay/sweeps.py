"""Follow sweeps on chain, and tell the ledger how they ended: here two rooms meet."""

import os
from decimal import Decimal

import structlog
from django.db import transaction

from chains.assets import Asset, Network
from chains.evm.payer import GasPayer, GasPayerError, gas_payer_from
from chains.networks import registry
from chains.pool import NodePool
from chains.sweeping.ends import (
    SweepByOthers,
    SweepEnd,
    mark_booked,
    mark_outflow_booked,
    unbooked_by_others,
    unbooked_ends,
)
from chains.sweeping.following import FollowReport
from chains.sweeping.following import follow_sweeps as follow
from settlement.rates.sources import Price, RateUnavailableError, configured_source
from settlement.treasury import book_sweep, book_sweep_gas

log = structlog.get_logger(__name__)


def follow_and_book(*, network: Network, nodes: NodePool) -> tuple[FollowReport, int]:
    """Follow a network's sweeps, then book those that ended; return the report and how many.

    Raises NodeError. Without a rate none of ours is booked; the next call does.
    """
    report = FollowReport()
    if network.sweeping is not None:
        report = follow(network=network, nodes=nodes, payer_of=gas_payer)
    booked = book_ends(network=network)
    return report, booked + book_others(network=network, nodes=nodes)


def book_ends(*, network: Network) -> int:
    """Book every final sweep of a network that the ledger does not have yet; return how many.

    Each with its gas in one transaction, once: the database refuses a second.
    """
    ends = unbooked_ends(network=network.caip2)
    assets = registry().assets_on(network.caip2)
    coin = next((asset for asset in assets if asset.contract is None), None)
    if not ends or coin is None:
        return 0
    try:
        price = configured_source().price_of(coin)
    except RateUnavailableError as error:
        log.warning("sweeps not booked", network=network.caip2, error=str(error))
        return 0
    return sum(_book(end, coin=coin, price=price) for end in ends)


def book_others(*, network: Network, nodes: NodePool) -> int:
    """Book what final sweeps of others moved to the treasury; return how many. Raises NodeError.

    Their gas is not ours. Each outflow once, however often this runs and what the chain takes back.
    """
    return sum(_book_other(one) for one in unbooked_by_others(network=network, nodes=nodes))


def price_of(asset: Asset) -> Decimal | None:
    """Tenge for a whole coin now; None where there is no rate."""
    try:
        return configured_source().price_of(asset).tenge
    except RateUnavailableError:
        return None


def gas_payer() -> GasPayer | None:
    """The gas payer, or None where the environment names none, or one that is of no use."""
    try:
        return gas_payer_from(os.environ)
    except GasPayerError as error:
        log.warning("no gas payer", error=str(error))
        return None


@transaction.atomic
def _book(end: SweepEnd, *, coin: Asset, price: Price) -> bool:
    if not mark_booked(sweep=end.id):
        return False
    if end.fee_wei:  # some networks take none
        book_sweep_gas(
            source=end.identity,
            asset=coin.caip19,
            decimals=coin.decimals,
            quantity=end.fee_wei,
            price=price,
            effective_at=end.mined_at,
        )
    if end.moved:
        book_sweep(
            source=f"{end.identity}/moved",
            asset=end.asset,
            quantity=end.moved,
            effective_at=end.mined_at,
        )
    return True


@transaction.atomic
def _book_other(one: SweepByOthers) -> bool:
    if not mark_outflow_booked(outflow=one.id):
        return False
    return book_sweep(
        source=one.identity, asset=one.asset, quantity=one.moved, effective_at=one.mined_at
    )
