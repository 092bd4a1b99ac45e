"""Where a network's scan stands: its lock, its cursor, and a cursor for each asset.

Whoever changes transfers holds the lock, in one transaction with the change; each change takes the
cursor's next revision.
"""

from collections.abc import Set as AbstractSet
from datetime import datetime

from django.db import connection

from chains.models import AssetCursor, Cursor


def lock(network: str) -> tuple[Cursor, datetime]:
    """Lock a network until the transaction ends; return its cursor and the database's time."""
    with connection.cursor() as sql:
        # Two statements: the clock is read after the wait for the lock, not before.
        sql.execute("SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))", [network])
        sql.execute("SELECT clock_timestamp()")
        (now,) = sql.fetchone()
    return Cursor.objects.select_for_update().get(network=network), now


def save(cursor: Cursor, revision: int) -> bool:
    """Save the cursor; where a transfer changed since ``revision``, tell who listens, and True."""
    cursor.save()
    if cursor.revision == revision:
        return False
    with connection.cursor() as sql:
        sql.execute("SELECT pg_notify('transfers', %s)", [cursor.network])
    return True


def begin(cursor: Cursor, assets: AbstractSet[str]) -> None:
    """Note that assets are looked for in every block after the cursor; known ones stay as noted."""
    AssetCursor.objects.bulk_create(
        [
            AssetCursor(network=cursor.network, asset=asset, height=cursor.height)
            for asset in sorted(assets)
        ],
        ignore_conflicts=True,
    )


def move_assets(network: str, assets: AbstractSet[str], was: int, height: int) -> int:
    """Move the cursors of assets that stand just before what was read; one with a gap stays."""
    rows = AssetCursor.objects.filter(network=network, asset__in=assets, height=was)
    return rows.update(height=height)
