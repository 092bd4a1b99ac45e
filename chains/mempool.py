"""Take in what waits to be mined, and give up what does so no more.

It runs inside a transaction of ``chains.scanning`` that holds the network's lock and its cursor.
"""

from datetime import datetime, timedelta
from typing import Final

from chains.finding import addresses_among, spends_among
from chains.models import Cursor, Transfer, TransferState
from chains.nodes import Pending
from chains.storing import flip, replace_by, store

RETURNS_WITHIN: Final = timedelta(days=30)
"""How long a dropped transaction is looked for in mempools: twice as long as bitcoind keeps one."""


def waiting_txids(network: str) -> frozenset[str]:
    """The transactions that were seen and are not mined."""
    rows = Transfer.objects.filter(network=network, state=TransferState.SEEN)
    return frozenset(rows.values_list("txid", flat=True))


def take_pending(cursor: Cursor, pending: Pending, now: datetime) -> None:
    """Take in what waits to be mined, and give up what does so no more."""
    ours = addresses_among([cursor.network], {output.script for output in pending.outputs})
    paying = [output for output in pending.outputs if output.script in ours]
    store(cursor, paying, ours, block=None, seen_at=now)
    for outpoint, txid in spends_among(cursor.network, pending.spent.keys()):
        if pending.spent[outpoint] != txid and txid not in pending.txids:
            replace_by(cursor, txid, pending.spent[outpoint])
    seen = Transfer.objects.filter(network=cursor.network, state=TransferState.SEEN)
    gone = set(seen.values_list("txid", flat=True)) - pending.txids
    flip(cursor, seen.filter(txid__in=gone), state=TransferState.DROPPED)
    # One node's mempool may have lacked what another, or the same one later, still holds.
    lost = Transfer.objects.filter(
        network=cursor.network,
        state=TransferState.DROPPED,
        first_seen_at__gt=now - RETURNS_WITHIN,
    )
    back = pending.txids & set(lost.values_list("txid", flat=True))
    flip(cursor, lost.filter(txid__in=back), state=TransferState.SEEN)
