"""Payments in a network's coin that leave nothing to read in blocks, found by what balances say.

On networks with ``native`` set to ``balances`` an address is asked what it holds at the last final
block. What it holds beyond what was found before, less what sweeps took, has come since (R57): from
contracts, from a destroyed one, from the consensus layer or as a block's reward (R58). The block
that brought it is found by halving, while the node still knows the states between.

An address is counted in one way only: one that ``balance_height`` is set for, here; every other one
by what blocks say.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from django.db import transaction
from django.db.models import F, Q, QuerySet, Sum
from django.db.models.functions import Now

from chains import cursors, recording
from chains.alerts import AlertKind, raise_alert
from chains.assets import Asset, NativeMode, Network
from chains.evm.node import EvmNode
from chains.evm.rpc import RpcRefusedError
from chains.models import MINED, Address, AssetCursor, Block, Cursor, Outflow, Transfer
from chains.nodes import BlockRef, Node, NodeUnavailableError, Output
from chains.pool import NodePool

CHUNK: Final = 500
OTHERS: Final = 500
"""Addresses that nobody waits for any more, looked at in turn: a late payment is found in time."""
EVERY_S: Final = 12
"""Fast networks are not asked at each of their blocks."""


@dataclass(frozen=True, slots=True)
class _Place:
    """An address with coins that came in a block, and how much."""

    address: Address
    block: Block
    value: int


def read_balances(*, network: Network, coin: Asset | None, nodes: NodePool) -> bool:
    """Look at the balances that are due at the last final block; return whether anything came.

    Does nothing where no address is counted by its balance. Raises NodeError.
    """
    block = _final_block(network, coin, nodes) if coin else None
    if block is None or coin is None:
        return False
    changed = False
    for addresses in _due(network, block.height):
        changed |= _read(coin, addresses, block, nodes)
    return changed


def _final_block(network: Network, coin: Asset, nodes: NodePool) -> Block | None:
    """The last final block up to which sweeps are known; None before there is work."""
    counted = Address.objects.filter(network=network.caip2, balance_height__isnull=False)
    if network.native is not NativeMode.BALANCES and not counted.exists():
        return None
    cursor = Cursor.objects.filter(network=network.caip2).first()
    read = AssetCursor.objects.filter(asset=coin.caip19, halted="").first()
    if cursor is None or read is None:
        return None
    final = nodes.final_height(cursor.height, network.final_confirmations)
    blocks = Block.objects.filter(network=network.caip2, canonical=True)
    return blocks.filter(height=min(final, cursor.height, read.height)).first()


def _due(network: Network, height: int) -> Iterator[Sequence[Address]]:
    """Who is waited for, page by page, then some others: those that were looked at longest ago."""
    rows = Address.objects.filter(network=network.caip2, deployment__isnull=False)
    step = -(-EVERY_S // network.block_time_s)
    due = Q(balance_height__lte=height - step)
    if network.native is NativeMode.BALANCES:
        due |= Q(balance_height=None)
    # Each page begins after the last one's end: looking at an address changes whether it is due.
    waited_for = rows.filter(due, watch_until__gt=Now()).order_by("watch_until", "pk")
    page = list(waited_for[:CHUNK])
    while page:
        yield page
        after = Q(watch_until__gt=page[-1].watch_until) | Q(pk__gt=page[-1].pk)
        page = list(waited_for.filter(after, watch_until__gte=page[-1].watch_until)[:CHUNK])
    others = rows.filter(due).exclude(watch_until__gt=Now())
    yield list(others.order_by(F("balance_height").asc(nulls_first=True))[:OTHERS])


def _read(coin: Asset, addresses: Sequence[Address], block: Block, nodes: NodePool) -> bool:
    """Look at some addresses at one block; what came is stored in the blocks that brought it."""
    unsettled = _excesses(coin, addresses, block, nodes)
    if unsettled is None:
        raise NodeUnavailableError(
            f"The node of {block.network} does not know balances at its final block "
            f'{block.height}: native "balances" needs one that keeps that state.'
        )
    settled = [one for one in addresses if unsettled[one.pk] == 0]
    Address.objects.filter(pk__in=[one.pk for one in settled]).filter(
        Q(balance_height=None) | Q(balance_height__lt=block.height)
    ).update(balance_height=block.height)
    changed = False
    for address in addresses:
        excess = unsettled[address.pk]
        if excess > 0:
            place = _first_excess(coin, _Place(address, block, excess), nodes)
            changed |= _record(coin, place)
        elif excess < 0:
            _tell(coin, address, -excess, block)
    return changed


def _excesses(
    coin: Asset, addresses: Sequence[Address], block: Block, nodes: NodePool
) -> dict[int, int] | None:
    """What each address holds at a block beyond what is known of it, in wei; by primary key.

    None where the node has forgotten the state of that block.
    """
    scripts = [bytes(address.script) for address in addresses]
    ref = BlockRef(
        height=block.height, hash=block.hash, parent_hash=block.parent_hash, time=block.time
    )

    def ask(node: Node) -> list[int] | None:
        if not isinstance(node, EvmNode):
            raise TypeError(f"{block.network} is no EVM network.")
        try:
            return node.coin_balances(scripts, block=ref)
        except RpcRefusedError:
            return None

    held = nodes.ask(ask)
    if held is None:
        return None
    came = _sums(
        Transfer.objects.filter(
            asset=coin.caip19, state__in=MINED, block__height__lte=block.height
        ),
        addresses,
    )
    went = _sums(
        Outflow.objects.filter(
            asset=coin.caip19, block__canonical=True, block__height__lte=block.height
        ),
        addresses,
    )
    return {
        one.pk: has - came.get(one.pk, 0) + went.get(one.pk, 0)
        for one, has in zip(addresses, held, strict=True)
    }


def _sums(
    rows: QuerySet[Transfer] | QuerySet[Outflow], addresses: Sequence[Address]
) -> dict[int, int]:
    some = rows.filter(address__in=[address.pk for address in addresses]).order_by()
    totals = some.values_list("address").annotate(total=Sum("value"))
    return {pk: int(total) for pk, total in totals}


def _first_excess(coin: Asset, last: _Place, nodes: NodePool) -> _Place:
    """The first block in which an address held more than is known; at worst the one looked at."""
    found, low = last, last.address.balance_height
    if low is None:
        return found  # it was counted otherwise before: there is no telling since when
    blocks = Block.objects.filter(network=last.block.network, canonical=True)
    while low + 1 < found.block.height:
        middle = blocks.filter(height=(low + found.block.height) // 2).first()
        if middle is None:
            return found
        excesses = _excesses(coin, [last.address], middle, nodes)
        if excesses is None:
            return found
        excess = excesses[last.address.pk]
        if excess > 0:
            found = _Place(last.address, middle, excess)
        else:
            low = middle.height
    return found


def _record(coin: Asset, place: _Place) -> bool:
    """Store what came, once: only if nobody has counted the address meanwhile (R66)."""
    address, block = place.address, place.block
    since = -1 if address.balance_height is None else address.balance_height
    output = Output(
        txid=f"balance-{bytes(address.script).hex()}",
        position=f"balance:{since}-{block.height}",
        script=bytes(address.script),
        asset=coin.caip19,
        value=place.value,
    )
    with transaction.atomic():
        cursor, _now = cursors.lock(block.network)
        stands = Block.objects.filter(pk=block.pk, canonical=True).exists()
        same = Address.objects.filter(pk=address.pk, balance_height=address.balance_height)
        if not stands or not same.update(balance_height=block.height):
            return False
        revision = cursor.revision
        recording.store_delta(cursor, address, output, block)
        return cursors.save(cursor, revision)


def _tell(coin: Asset, address: Address, missing: int, block: Block) -> None:
    raise_alert(
        network=block.network,
        kind=AlertKind.BALANCE_UNEXPLAINED,
        subject=address.text,
        detail=(
            f"At block {block.height} it holds {missing} base units of {coin.symbol} less than was "
            "found and not swept. Nothing was taken back; look at the node and at the sweeps."
        ),
    )
