"""Every task, in the order in which one payment meets them.

    scan_networks        beat, every 5 s, and pokes from ``listening``
      scan_network       from the cursor to the tip: transfers to our addresses
        apply_transfers  transfers to invoices, and to the ledger in the same transaction
    expire_invoices      beat, every 5 s

A task loads, calls one function and asks for the next step. Each may run twice, at once, late or
never: the functions behind them read what is due from the database and are idempotent.
"""

import structlog
from celery import shared_task

from chains.assets import Network
from chains.networks import node_for, registry
from chains.pool import NodePool
from chains.scanning import scan_network as scan
from merchants.invoices import apply_transfers as apply_changes
from merchants.invoices import expire_invoices as expire

log = structlog.get_logger(__name__)

_nodes: dict[Network, NodePool] = {}
"""Connections of this process; each checks its chain when it is made (R18, R43)."""


@shared_task
def scan_networks() -> None:
    """Ask for a scan of every network in the registry."""
    for caip2 in registry().networks:
        scan_network.delay(caip2)


@shared_task
def scan_network(caip2: str) -> None:
    """Bring one network from its cursor to its tip; a failure is left to the next poke."""
    network = registry().networks[caip2]
    if network not in _nodes:
        _nodes[network] = node_for(network)
    report = scan(network=network, node=_nodes[network])
    if report.changed:
        apply_transfers.delay(caip2)
    if not report.caught_up:
        scan_network.delay(caip2)


@shared_task
def apply_all_transfers() -> None:
    """Ask for the changes of every network to be applied, so that a lost poke costs seconds."""
    for caip2 in registry().networks:
        apply_transfers.delay(caip2)


@shared_task
def apply_transfers(caip2: str) -> None:
    """Apply one network's changed transfers to their invoices and to the ledger."""
    changed = apply_changes(network=caip2)
    if changed:
        log.info("invoices changed", network=caip2, invoices=[str(one) for one in changed])


@shared_task
def expire_invoices() -> None:
    """Expire the invoices whose time has passed without a sufficient payment."""
    expire()
