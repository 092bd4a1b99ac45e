"""What forwarders hold: final transfers since their last sweep, held against the chain itself."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from typing import Any, Final

from django.db.models import Case, Exists, F, Max, OuterRef, Q, Subquery, Sum, Value, When
from django.db.models.functions import Coalesce, Now

from chains.alerts import AlertKind, raise_alert
from chains.assets import Asset
from chains.evm.sweeps import SweepChain
from chains.models import Address, SweepItem, SweepState, Transfer, TransferState
from chains.nodes import BlockRef

ADDRESSES_MAX: Final = 2_000
"""How many addresses of one asset are looked at for one plan: those with most come first."""


MORE: Final = "the chain shows more than the transfers that were found"
LESS: Final = "the chain shows less than the final transfers: somebody else swept it?"


class FindingKind(StrEnum):
    """Why coins stay where they are, or what does not fit."""

    UNEXPLAINED = "unexplained"
    MISSING = "missing"
    REFUSED = "refused"
    TOO_LITTLE = "too little"
    TOO_DEAR = "too dear"
    NO_PRICE = "no price"
    OTHER_TREASURY = "other treasury"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """What a person should know about some addresses; ``value`` in base units of the asset."""

    kind: FindingKind
    asset: str
    addresses: tuple[str, ...]
    value: int
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Holding:
    """What one address holds, in base units: the part that final transfers explain.

    ``is_old`` tells that the oldest of those transfers has waited for as long as it may.
    """

    address: Address
    value: int
    is_old: bool


def holdings_of(
    *, asset: Asset, chain: SweepChain, block: BlockRef, age_s_max: int
) -> tuple[list[Holding], list[Finding]]:
    """Addresses with final transfers since their last sweep, and what ``block`` shows otherwise.

    ``age_s_max`` is how long a transfer may wait by the database's clock (R71), 0 for ever.
    An address that a sweep under way holds is left out. Raises NodeError.
    """
    rows = list(_fresh_transfers(asset, block.height, age_s_max)[:ADDRESSES_MAX])
    rows_of = Address.objects.select_related("deployment")
    addresses = rows_of.in_bulk([row["address"] for row in rows])
    holders = [addresses[row["address"]].text for row in rows]
    balances = chain.balances(holders, token=asset.contract, block=block)
    holdings, findings = [], []
    unsettled = _unsettled(asset, [row["address"] for row in rows], block.height)
    for row, balance in zip(rows, balances, strict=True):
        address, final, sure = addresses[row["address"]], int(row["final"]), int(row["sure"] or 0)
        explained = final + unsettled.get(address.pk, 0)
        if balance > explained:
            excess = balance - explained
            findings.append(_finding(FindingKind.UNEXPLAINED, asset, address, excess, MORE))
        if balance < sure:
            findings.append(_finding(FindingKind.MISSING, asset, address, sure - balance, LESS))
        if balance:
            value = min(balance, final)
            holdings.append(Holding(address=address, value=value, is_old=row["is_old"]))
    if asset.contract is not None:
        _tell(asset, findings, block)
    return holdings, findings


def mark_swept(*, asset: str, address: Address, height: int) -> None:
    """Leave out of later plans what an address received before a final sweep took all it held.

    ``height`` is that sweep's block; what came in the same block may have come after it. The caller
    holds the network's lock (``chains.cursors``).
    """
    rows = Transfer.objects.filter(address=address, asset=asset, swept=False)
    rows.filter(block__height__lt=height).update(swept=True)


def of_holdings(
    kind: FindingKind, asset: Asset, holdings: Sequence[Holding], why: str
) -> list[Finding]:
    """One finding about several holdings; none about none."""
    if not holdings:
        return []
    addresses = tuple(one.address.text for one in holdings)
    total = sum(one.value for one in holdings)
    return [Finding(kind=kind, asset=asset.caip19, addresses=addresses, value=total, why=why)]


def _finding(kind: FindingKind, asset: Asset, address: Address, value: int, why: str) -> Finding:
    return Finding(kind=kind, asset=asset.caip19, addresses=(address.text,), value=value, why=why)


def _tell(asset: Asset, findings: Sequence[Finding], block: BlockRef) -> None:
    """Raise an alert where a token's balance is not what its logs come to (R52)."""
    for one in findings:
        for address in one.addresses:
            raise_alert(
                network=asset.network,
                kind=AlertKind.BALANCE_UNEXPLAINED,
                subject=address,
                evidence=asset.caip19,
                detail=(
                    f"{asset.symbol}, {one.value} base units at block {block.height}: {one.why}; a "
                    "token whose balances change by themselves is not to be listed."
                ),
            )


def _fresh_transfers(asset: Asset, height_max: int, age_s_max: int) -> Any:  # noqa: ANN401 -- annotated rows
    """By address: final value since the last sweep that took all.

    ``sure`` leaves out what came in that sweep's own block: before it, or after? What an older
    block was found to hold only after the sweep had ended is not marked as swept, and is left out.
    """
    old = Q(block__time__lte=Now() - timedelta(seconds=age_s_max)) if age_s_max else Q(pk=None)
    items = SweepItem.objects.filter(address=OuterRef("address"), asset=asset.caip19)
    whole = items.filter(sweep__state=SweepState.DONE, swept__gte=F("value"))
    last = whole.order_by().values("address").annotate(last=Max("sweep__block_height"))
    rows = Transfer.objects.filter(
        ~Exists(items.filter(live=True)),
        network=asset.network,
        network__startswith="eip155:",  # the index of what is unswept holds no other
        asset=asset.caip19,
        state=TransferState.FINAL,
        swept=False,
        block__height__lte=height_max,
        address__salt__isnull=False,
    ).annotate(swept_at=Coalesce(Subquery(last.values("last")), Value(-1)))
    return (
        rows.filter(block__height__gte=F("swept_at"))
        .order_by()
        .values("address")
        .annotate(
            final=Sum("value"),
            sure=Sum("value", filter=Q(block__height__gt=F("swept_at"))),
            is_old=Max(Case(When(old, then=1), default=0)),
        )
        .order_by("-final", "address")
    )


def _unsettled(asset: Asset, addresses: Sequence[int], height_max: int) -> dict[int, int]:
    """By address: what stands in blocks that the balance counts, and is not final yet."""
    rows = Transfer.objects.filter(
        network=asset.network,
        asset=asset.caip19,
        address__in=addresses,
        state=TransferState.INCLUDED,
        block__height__lte=height_max,
    )
    sums = rows.order_by().values("address").annotate(total=Sum("value"))
    return {row["address"]: int(row["total"]) for row in sums}
