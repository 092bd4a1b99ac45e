"""Coins in the treasury as lots: what came first leaves first, at what it cost.

The lots of an asset lie end to end on a line of base units, and so do its uses; what a use costs is
read off the lots that it covers. Both are facts that nobody changes: what is left of a lot follows
from how far the uses reach. Every function is called under ``lock_assets`` of its asset.
"""

from django.db.models import Max, QuerySet

from settlement.ledger import InsufficientFundsError
from settlement.models import Lot, LotUse


def add_lot(*, entry_id: int, asset: str, units: int, cost_tiyn: int) -> None:
    """Put the coins that an entry brought to the treasury at the end of the line."""
    Lot.objects.create(
        entry_id=entry_id,
        asset=asset,
        units_before=_end_of(Lot.objects.filter(asset=asset)),
        units=units,
        cost_tiyn=cost_tiyn,
    )


def cost_of_next(*, asset: str, units: int) -> int:
    """Tiyn that the next ``units`` base units to leave have cost.

    A part of a lot costs its share, rounded down from the lot's beginning on, so that the parts
    sum to the whole. Raises InsufficientFundsError when the treasury holds less.
    """
    begin = _end_of(LotUse.objects.filter(asset=asset))
    held = _end_of(Lot.objects.filter(asset=asset)) - begin
    if held < units:
        raise InsufficientFundsError(f"the treasury holds {held} of {units} {asset}")
    lots = Lot.objects.filter(asset=asset, units_before__lt=begin + units)
    first = lots.filter(units_before__lte=begin).aggregate(place=Max("units_before"))["place"]
    cost_tiyn = 0
    for lot in lots.filter(units_before__gte=first):
        place, size = int(lot.units_before), int(lot.units)
        since, upto = max(begin - place, 0), min(begin + units - place, size)
        cost_tiyn += lot.cost_tiyn * upto // size - lot.cost_tiyn * since // size
    return cost_tiyn


def use_lots(*, entry_id: int, asset: str, units: int, cost_tiyn: int) -> None:
    """Say that the next ``units`` base units left with an entry, at what ``cost_of_next`` said."""
    LotUse.objects.create(
        entry_id=entry_id,
        asset=asset,
        units_before=_end_of(LotUse.objects.filter(asset=asset)),
        units=units,
        cost_tiyn=cost_tiyn,
    )


def _end_of(line: QuerySet[Lot] | QuerySet[LotUse]) -> int:
    """Where a line ends."""
    last = line.order_by("-units_before").values_list("units_before", "units").first()
    return int(last[0] + last[1]) if last else 0
