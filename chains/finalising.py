"""Make final what is deep enough, by the network's policy.

It runs inside a transaction of ``chains.scanning`` that holds the network's lock and its cursor.
"""

from collections.abc import Mapping

from django.db.models import F, OuterRef, Q, Subquery, Sum

from chains.assets import Network
from chains.models import Cursor, Transfer, TransferState
from chains.storing import flip


def has_included(network: str) -> bool:
    """Whether anything waits to become final."""
    return Transfer.objects.filter(network=network, state=TransferState.INCLUDED).exists()


def finalise(cursor: Cursor, network: Network, final_heights: Mapping[int, int]) -> None:
    """Make final what is deep enough; ``final_heights`` by the number of confirmations asked for.

    A tier goes by all that one reorganisation could take from the same address, in this block or
    over several: a large payment gains nothing by being split.
    """
    included = Transfer.objects.filter(
        network=cursor.network,
        state=TransferState.INCLUDED,
        block__height__lte=cursor.height + 1 - F("maturity"),
    )
    tiered = {tier.asset for tier in network.finality_tiers}
    deep = final_heights[network.final_confirmations]
    plain = included.exclude(asset__in=tiered).filter(block__height__lte=deep)
    flip(cursor, plain, state=TransferState.FINAL)
    shallow = Q(state=TransferState.FINAL, block__height__gt=min(final_heights.values()))
    beside = Transfer.objects.filter(
        Q(state=TransferState.INCLUDED) | shallow,
        address=OuterRef("address"),
        asset=OuterRef("asset"),
    )
    total = beside.order_by().values("address").annotate(total=Sum("value")).values("total")
    rows = included.filter(asset__in=tiered).annotate(total=Subquery(total))
    ripe = [
        row.pk
        for row in rows.select_related("block")
        if row.block
        and row.block.height <= final_heights[network.confirmations_for(row.asset, int(row.total))]
    ]
    flip(cursor, Transfer.objects.filter(pk__in=ripe), state=TransferState.FINAL)
