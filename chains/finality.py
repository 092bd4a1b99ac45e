"""Whether a network still finalises its blocks (R36).

In May 2023 Ethereum finalised nothing for twenty-five minutes, and the next day for over an hour,
while blocks went on as ever. Payments then wait, rightly; people should know what for.
"""

from datetime import timedelta
from typing import Final

from django.db import connection

from chains.alerts import AlertKind, close_alerts, raise_alert
from chains.assets import Network
from chains.models import Finality
from chains.nodes import Node

STALLED_BLOCKS: Final = 96
"""Three epochs of Ethereum's: it finalises one after the other, and may miss one."""
STALLED_S_MIN: Final = 20 * 60
"""Networks with fast blocks finalise by another network's pace."""


def watch_finality(*, network: Network, node: Node) -> bool:
    """Note how far finality is; raise an alert if it stands still while blocks come.

    Returns whether it stands still. Nothing is to be watched where payments settle by depth alone.
    Raises NodeError.
    """
    if 0 not in network.confirmations:
        return False
    tip_height = node.tip_height()
    height = node.final_height(tip_height, 0)
    with connection.cursor() as sql:
        sql.execute("SELECT clock_timestamp()")
        (now,) = sql.fetchone()
    row, _created = Finality.objects.get_or_create(
        network=network.caip2,
        defaults={"height": height, "tip_height": tip_height, "moved_at": now},
    )
    if height > row.height or tip_height < row.tip_height:
        Finality.objects.filter(pk=row.pk).update(
            height=height, tip_height=tip_height, moved_at=now
        )
        close_alerts(network=network.caip2, kind=AlertKind.FINALITY_STALLED, subject=network.caip2)
        return False
    patience = timedelta(seconds=max(STALLED_S_MIN, STALLED_BLOCKS * network.block_time_s))
    stalled = now - row.moved_at > patience and tip_height > row.tip_height
    if stalled:
        since = row.moved_at.isoformat(timespec="minutes")
        raise_alert(
            network=network.caip2,
            kind=AlertKind.FINALITY_STALLED,
            subject=network.caip2,
            detail=(
                f"{network.name} has finalised nothing beyond block {row.height} since {since}, "
                f"while blocks go on to {tip_height}. Payments are shown and wait to settle."
            ),
        )
    return stalled
