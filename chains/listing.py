"""Bring in what the registry lists: check each token's contract, and read what it has missed.

An asset has a cursor of its own. It moves with the network's; where it does not (a token listed
while the workers run, or halted for a while), the blocks between the two are read for that asset
alone, from ``start_height`` on, until both stand together.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import timedelta
from itertools import pairwise
from typing import Final

import structlog
from django.db import transaction
from django.db.models import Q, QuerySet
from django.db.models.functions import Now

from chains import cursors, finding, recording
from chains.alerts import AlertKind, close_alerts, raise_alert
from chains.assets import Asset, Network
from chains.models import AssetCursor, Cursor
from chains.nodes import Node
from chains.registry_checks import RegistryError

log = structlog.get_logger(__name__)

CHECKED_EVERY: Final = timedelta(days=1)
HALTED_CHECKED_EVERY: Final = timedelta(minutes=10)


@dataclass(frozen=True, slots=True, kw_only=True)
class MissedReport:
    """What one look at missed blocks did; ``done`` tells that nothing is left to read."""

    changed: bool
    done: bool


def check_assets(*, network: Network, assets: Sequence[Asset], node: Node) -> bool:
    """Ask the contracts of a network's listed assets, at the first time and then daily (R54).

    One that does not say what the registry says, or that was read with other decimals before, is
    halted, and goes on by itself once all agree; while it is halted nobody is asked to pay in it.
    Does nothing before the network's first scan. Returns whether anything was due. Raises
    NodeError, and RegistryError where the network's coin has another name than before.
    """
    cursor = Cursor.objects.filter(network=network.caip2).first()
    if cursor is None:
        return False
    check_coin(network=network, assets=assets)
    rows = AssetCursor.objects.filter(network=network.caip2)
    fresh = Q(checked_at__gt=Now() - CHECKED_EVERY, halted="")
    fresh |= Q(checked_at__gt=Now() - HALTED_CHECKED_EVERY)
    due = {asset.caip19: asset for asset in assets}
    others = _other_decimals(rows, due)
    for caip19, halted in rows.filter(fresh).values_list("asset", "halted"):
        if halted or caip19 not in others:
            due.pop(caip19, None)
    wrong = {**node.wrong_assets(list(due.values())), **others} if due else {}
    for asset in due.values():
        start = network.start_height if asset.start_height is None else asset.start_height
        rows.get_or_create(
            asset=asset.caip19,
            defaults={"network": network.caip2, "height": min(start - 1, cursor.height)},
        )
        why = wrong.get(asset.caip19, "")[:200]
        _tell(asset, why)
        row = rows.filter(asset=asset.caip19)
        row.update(halted=why, checked_at=Now())
        if not why:
            row.update(decimals=asset.decimals)
    return bool(due)


def check_coin(*, network: Network, assets: Sequence[Asset]) -> None:
    """Raise RegistryError where a network that was scanned names its coin otherwise than before.

    Under another CAIP-19 id every old payment would be found anew, in the place of what is stored.
    Nobody is asked to pay in the new name either.
    """
    listed = next((asset.caip19 for asset in assets if asset.contract is None), None)
    coins = AssetCursor.objects.filter(network=network.caip2, asset__contains="/slip44:")
    first = coins.order_by("pk").values_list("asset", flat=True).first()
    if listed is None or first in {None, listed}:
        return
    why = f"The network was scanned with its coin named {first}; the registry says {listed}."
    AssetCursor.objects.update_or_create(
        asset=listed,
        defaults={"halted": why[:200]},
        create_defaults={"network": network.caip2, "height": -1, "halted": why[:200]},
    )
    raise RegistryError(f"NETWORKS_FILE: {network.name}: {why} Name it {first} again.")


def _other_decimals(rows: QuerySet[AssetCursor], listed: Mapping[str, Asset]) -> dict[str, str]:
    """The assets whose amounts were read with other decimals before, and why that stops them."""
    return {
        caip19: f"Amounts in it were read with {was} decimals, the registry says "
        f"{listed[caip19].decimals}."
        for caip19, was in rows.filter(asset__in=listed).values_list("asset", "decimals")
        if was is not None and was != listed[caip19].decimals
    }


def _tell(asset: Asset, why: str) -> None:
    kind, network = AlertKind.TOKEN_HALTED, asset.network
    if why:
        detail = f"{asset.symbol}: {why}. Nobody is asked to pay in it, and nothing in it is read."
        raise_alert(network=network, kind=kind, subject=asset.caip19, detail=detail)
    else:
        close_alerts(network=network, kind=kind, subject=asset.caip19)


def halted_assets() -> Mapping[str, str]:
    """The assets that nobody may be asked to pay in now, by CAIP-19, and why."""
    rows = AssetCursor.objects.exclude(halted="")
    return dict(rows.values_list("asset", "halted"))


def readable_assets(assets: Sequence[Asset]) -> tuple[Asset, ...]:
    """Those of some assets that are not halted."""
    halted = halted_assets()
    return tuple(asset for asset in assets if asset.caip19 not in halted)


def read_missed(
    *,
    network: Network,
    assets: Sequence[Asset],
    connect: Callable[[Sequence[Asset]], Node],
    blocks_max: int = 500,
) -> MissedReport:
    """Read up to ``blocks_max`` blocks for the assets that are furthest behind their network.

    ``connect`` gives a node that reads some assets only. What is read twice is stored once. Raises
    NodeError; what was stored before stays.
    """
    cursor = Cursor.objects.filter(network=network.caip2).first()
    listed = {asset.caip19: asset for asset in assets}
    rows = AssetCursor.objects.filter(network=network.caip2, asset__in=listed)
    behind = dict(
        rows.filter(height__lt=cursor.height if cursor else 0).values_list("asset", "height")
    )
    if cursor is None or not behind:
        return MissedReport(changed=False, done=True)
    height, *higher = sorted({*behind.values(), cursor.height})
    node = connect([listed[asset] for asset, at in behind.items() if at == height])
    last = min(higher[0], height + blocks_max)
    with closing(node.read_blocks(height + 1, last)) as blocks:
        found = list(finding.find_each(network.caip2, blocks))
    if any(block.ref.parent_hash != parent.ref.hash for parent, block in pairwise(found)):
        # The chain moved between two questions: the next look reads it again.
        return MissedReport(changed=False, done=False)
    with transaction.atomic():
        cursor, now = cursors.lock(network.caip2)
        revision = cursor.revision
        stored = recording.apply_missed(cursor, found, now, assets=node.assets)
        changed = cursors.save(cursor, revision)
    log.info(
        "read for assets listed late",
        network=network.caip2,
        height=last,
        stored=stored,
        found=sum(len(block.outputs) for block in found),
    )
    return MissedReport(changed=changed, done=stored and last >= cursor.height)
