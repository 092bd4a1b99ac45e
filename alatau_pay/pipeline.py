"""Every task, in the order in which one payment meets them.

    scan_networks        beat, every 5 s
      scan_network       also poked by ``listening``: from the cursor to the tip of one network
        apply_transfers  transfers to invoices, and to the ledger in the same transaction
    expire_invoices      beat, every 5 s
    prepare_payouts      beat, from 08:00 to 08:50 in Almaty: the day's batches, once
    follow_all_sweeps    beat, every 15 s
      follow_sweeps      sweeps of one network: sent again, replaced, or ended and in the ledger
    seal_entries         beat, every 10 s: a hash chain over the journal, behind its writers
    observe_rates        beat, every 5 s: combines what sources of rates said, and asks who is due
      observe_source     one exchange, or the National Bank

A task loads, calls one function and asks for the next step. Each may run twice, at once, late or
never: the functions behind them read what is due from the database and are idempotent.

Scans have a queue of their own, and a worker with a thread for each network: a network whose node
is silent holds one thread, and nothing else waits for it.
"""

import time
from collections.abc import Callable, Sequence
from typing import Final

import structlog
from celery import shared_task
from django.core.cache import cache
from django.core.exceptions import ImproperlyConfigured
from structlog.contextvars import bound_contextvars

from alatau_pay.sweeps import follow_and_book
from chains.accounts import check_accounts
from chains.assets import Asset, Network, NetworkKind
from chains.balances import read_balances
from chains.finality import watch_finality
from chains.health import record_health
from chains.listing import check_assets, read_missed, readable_assets
from chains.locks import scanning_alone
from chains.networks import RegistryError, node_for, registry
from chains.nodes import NodeError
from chains.pool import EndpointHealth, NodePool
from chains.scanning import ScanReport
from chains.scanning import scan_network as scan
from merchants.expiring import expire_invoices as expire
from merchants.payouts import prepare_payouts_of_today
from merchants.settling import apply_transfers as apply_changes
from merchants.settling import networks_applied
from settlement.calendar import CalendarError
from settlement.payout_states import PayoutError
from settlement.rates.feeds import FeedsError, rates_are_fixed
from settlement.rates.observing import due_sources
from settlement.rates.observing import observe_source as observe
from settlement.rates.rating import combine_rates
from settlement.sealing import seal_entries as seal

log = structlog.get_logger(__name__)

EXPIRES_S: Final = 30
"""A poke that nobody took for so long says nothing new: beat has sent others.

It is the sender's clock against the worker's: hosts whose clocks differ by more would do nothing.
"""
HEALTH_S: Final = 10.0

_nodes: dict[str, tuple[Network, tuple[Asset, ...], NodePool]] = {}
"""This process's connections, each used by one scan at a time; a chain is checked at every connect.

Threads of one process share them, so a node is asked, and found dead, once.
"""
_recorded: dict[str, tuple[Sequence[EndpointHealth], float]] = {}
"""What was last stored of each network's health, and when; spares writes."""


@shared_task(expires=EXPIRES_S)
def scan_networks() -> None:
    """Ask for a scan of every network in the registry."""
    for caip2 in registry().networks:
        scan_network.delay(caip2)


@shared_task(expires=EXPIRES_S)
def scan_network(caip2: str) -> None:
    """Bring one network from its cursor to its tip; a failure is left to the next poke.

    A poke that finds another scan under way leaves word and returns at once. Only the scan that
    holds the lock asks for the next, and only for one: there is never a second chain of them.
    """
    asked_again = f"scan-asked-for:{caip2}"
    cache.set(asked_again, 1, EXPIRES_S)
    with bound_contextvars(network=caip2), scanning_alone(caip2) as alone:
        if not alone:
            return
        cache.delete(asked_again)
        report = _scan(caip2)
    if report is None:
        return
    if report.changed:
        apply_transfers.delay(caip2)
    # After the lock: who left word before that is seen here, who comes after finds the lock free.
    if not report.caught_up or cache.get(asked_again):
        scan_network.delay(caip2)


def _scan(caip2: str) -> ScanReport | None:
    try:
        return read_network(caip2)
    except (NodeError, RegistryError) as error:
        log.warning("scan failed", error=str(error))
        return None
    finally:
        _record_health(caip2)


def _record_health(caip2: str) -> None:
    """Store how the endpoints do where that changed, and from time to time where it did not."""
    if caip2 not in _nodes:
        return
    endpoints = tuple(_nodes[caip2][2].health)
    before, recorded_at = _recorded.get(caip2, ((), 0.0))
    now = time.monotonic()
    if endpoints != before or now - recorded_at > HEALTH_S:
        record_health(network=caip2, endpoints=endpoints)
        _recorded[caip2] = endpoints, now


def read_network(
    caip2: str, told: Callable[[ScanReport], None] = lambda _report: None
) -> ScanReport:
    """Scan one network for all that the registry lists now, over this process's connections.

    ``told`` hears of the report after every block. Raises NodeError, RegistryError.
    """
    listed = registry()
    network, assets = listed.networks[caip2], listed.assets_on(caip2)
    node = _node(network, readable_assets(assets))
    if check_assets(network=network, assets=assets, node=node) and network.kind is NetworkKind.EVM:
        check_accounts(network=network, nodes=node)
    readable = readable_assets(assets)
    node = _node(network, readable)
    report = scan(network=network, node=node, told=told)
    missed = read_missed(
        network=network, assets=readable, connect=lambda some: node_for(network, some)
    )
    late = missed.changed
    if report.caught_up and network.kind is NetworkKind.EVM:
        coin = next((asset for asset in readable if asset.contract is None), None)
        late |= read_balances(network=network, coin=coin, nodes=node)
        watch_finality(network=network, node=node)
    report.changed |= late
    # What was found late may be final already: one more look says so.
    report.caught_up &= missed.done and not late
    return report


def _node(network: Network, assets: tuple[Asset, ...]) -> NodePool:
    """The connection of this process, made anew once the registry names other things."""
    known = _nodes.get(network.caip2)
    if known is None or known[:2] != (network, assets):
        known = _nodes[network.caip2] = (network, assets, node_for(network, assets))
    return known[2]


@shared_task(expires=EXPIRES_S)
def apply_all_transfers() -> None:
    """Ask for the changes of every network to be applied, so that a lost poke costs seconds."""
    for caip2 in networks_applied().union(registry().networks):
        apply_transfers.delay(caip2)


@shared_task(expires=EXPIRES_S)
def apply_transfers(caip2: str) -> None:
    """Apply one network's changed transfers to their invoices and to the ledger."""
    with bound_contextvars(network=caip2):
        changed = apply_changes(network=caip2)
        if changed:
            log.info("invoices changed", invoices=len(changed))


@shared_task(expires=EXPIRES_S)
def expire_invoices() -> None:
    """Expire the invoices whose time has passed without a sufficient payment."""
    expire()


@shared_task(expires=EXPIRES_S)
def prepare_payouts() -> None:
    """Prepare the day's payouts for officials to approve, if nobody has yet."""
    try:
        prepared = prepare_payouts_of_today()
    except (PayoutError, CalendarError, ImproperlyConfigured) as error:
        log.warning("payouts not prepared", error=str(error))
        return
    for one in prepared:
        log.info("payouts prepared", batch=one.batch, skipped=len(one.skipped))


@shared_task(expires=EXPIRES_S)
def follow_all_sweeps() -> None:
    """Ask for the sweeps of every EVM network to be followed: where we sweep not, others may."""
    for caip2, network in registry().networks.items():
        if network.kind is NetworkKind.EVM:
            follow_sweeps.delay(caip2)


@shared_task(expires=EXPIRES_S)
def follow_sweeps(caip2: str) -> None:
    """Follow one network's sweeps to their end, and book those that ended."""
    network = registry().networks[caip2]
    try:
        # Connections of its own: a pool serves one caller at a time, and scans have theirs.
        follow_and_book(network=network, nodes=node_for(network))
    except NodeError as error:
        log.warning("sweeps not followed", network=caip2, error=str(error))


@shared_task(expires=EXPIRES_S)
def seal_entries() -> None:
    """Seal the journal's entries that no transaction can come before any more."""
    seal()


@shared_task(expires=EXPIRES_S)
def observe_rates() -> None:
    """Combine what the sources of rates said, and ask those whose turn has come."""
    if rates_are_fixed():
        return
    try:
        combine_rates()
        for source in due_sources():
            observe_source.delay(source)
    except FeedsError as error:
        log.warning("rates not asked for", error=str(error))


@shared_task(expires=EXPIRES_S)
def observe_source(source: str) -> None:
    """Ask one source of rates, if it still is its turn."""
    observe(source)
