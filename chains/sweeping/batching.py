"""Put holdings into transactions: rehearsed on the chain, within the gas budget, worth their cost.

One forwarder that refuses (a paused token, a blocklisted address) would fail a whole transaction,
so a batch that fails its rehearsal is halved until the guilty stands alone.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from fractions import Fraction
from math import ceil, floor
from typing import Final

from chains.assets import Asset, SweepPolicy
from chains.evm.sweeps import SALTS_MAX, Fees, Refusal, SweepChain, sweep_call
from chains.sweeping.holdings import Finding, FindingKind, Holding, of_holdings

GAS_SPARE: Final = Fraction(5, 4)
"""The gas limit over the rehearsal: what the addresses hold may change before it is mined."""
REFUSED_FIRST_MAX: Final = 8
"""So many addresses refused alone and none taken: it is the token that refuses, not they."""
BASIS_POINTS: Final = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """The call that sweeps one asset of some forwarders to the treasury they were made for."""

    asset: Asset
    sender: str
    factory: str
    treasury: str

    def data(self, salts: Sequence[bytes]) -> bytes:
        """The call data for the forwarders of some salts."""
        return sweep_call(treasury=self.treasury, token=self.asset.contract, salts=salts)


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """Holdings that one transaction would move; ``gas`` is what its rehearsal used."""

    holdings: Sequence[Holding]
    gas: int
    fee_wei_per_gas_max: int = 0

    @property
    def total(self) -> int:
        """Base units that it moves."""
        return sum(one.value for one in self.holdings)

    @property
    def gas_limit(self) -> int:
        """The gas that the transaction may use."""
        return ceil(self.gas * GAS_SPARE)


def wei_per_unit(asset: Asset, coin: Asset, *, price: Decimal, coin_price: Decimal) -> Fraction:
    """Base units of the network's coin that one base unit of an asset is worth."""
    ratio = Fraction(price) / Fraction(coin_price)
    return ratio * Fraction(10) ** (coin.decimals - asset.decimals)


@dataclass(slots=True, kw_only=True)
class Batcher:
    """Makes batches of one network's holdings, and says in ``findings`` what it leaves and why."""

    chain: SweepChain
    policy: SweepPolicy
    fees: Fees
    findings: list[Finding] = field(default_factory=list)

    def batches(self, route: Route, holdings: Sequence[Holding], worth: Fraction) -> list[Batch]:
        """Batches that pass their rehearsal and are worth their gas.

        ``worth`` is what a base unit is worth in wei. Raises NodeError.
        """
        first = self._rehearsed(route, holdings)
        paying = [one for batch in first for one in self._paying(route, batch, worth)]
        # What was halved to find the guilty is put together again.
        whole = sum(len(batch.holdings) for batch in first) == len(holdings) == len(paying)
        batches = first if whole else self._rehearsed(route, paying)
        return [one for batch in batches for one in self._affordable(route, batch, worth)]

    def _rehearsed(self, route: Route, holdings: Sequence[Holding]) -> list[Batch]:
        """Rehearse chunk by chunk, halving what fails; bounded by two questions an address."""
        waiting = list(reversed(_chunks(holdings)))
        batches: list[Batch] = []
        refused: list[Holding] = []
        why = ""
        while waiting:
            group = waiting.pop()
            if not batches and len(refused) >= REFUSED_FIRST_MAX:
                refused += group
                continue
            salts = [bytes(one.address.salt or b"") for one in group]
            answer = self.chain.gas_of(
                sender=route.sender, factory=route.factory, data=route.data(salts)
            )
            match answer:
                case Refusal(reason=reason) if len(group) == 1:
                    refused, why = refused + list(group), reason
                case int(gas) if ceil(gas * GAS_SPARE) <= self.policy.gas_max:
                    batches.append(Batch(holdings=group, gas=gas))
                case int() if len(group) == 1:
                    refused, why = refused + list(group), "needs more gas than gas_max allows"
                case _:
                    middle = len(group) // 2
                    waiting += [group[middle:], group[:middle]]
        self.findings += of_holdings(FindingKind.REFUSED, route.asset, refused, why)
        return batches

    def _paying(self, route: Route, batch: Batch, worth: Fraction) -> Iterable[Holding]:
        """Those of a batch whose own part of the gas is within the share of what they hold."""
        cost_wei = Fraction(batch.gas * self.fees.total_wei, len(batch.holdings))
        bearable = cost_wei * BASIS_POINTS / (worth * self.policy.cost_bp_max)
        small = [one for one in batch.holdings if one.value < bearable]
        if len(small) == len(batch.holdings):
            return batch.holdings  # it is not some that are small: all of it is too dear now
        why = f"the gas costs more than {_percent(self.policy)} of it"
        self.findings += of_holdings(FindingKind.TOO_LITTLE, route.asset, small, why)
        return [one for one in batch.holdings if one.value >= bearable]

    def _affordable(self, route: Route, batch: Batch, worth: Fraction) -> list[Batch]:
        """The batch with the fee that it bears at most, if that pays for a block of now."""
        share = Fraction(self.policy.cost_bp_max, BASIS_POINTS) * batch.total * worth
        limit = min(self.policy.fee_wei_per_gas_max, floor(share / batch.gas))
        if self.fees.total_wei > limit:
            why = (
                f"gas costs {self.fees.total_wei} wei a unit; the policy ("
                f"{self.policy.fee_wei_per_gas_max} wei, {_percent(self.policy)} of what moves) "
                f"bears {limit}"
            )
            self.findings += of_holdings(FindingKind.TOO_DEAR, route.asset, batch.holdings, why)
            return []
        return [Batch(holdings=batch.holdings, gas=batch.gas, fee_wei_per_gas_max=limit)]


def _chunks(holdings: Sequence[Holding]) -> list[Sequence[Holding]]:
    return [holdings[start : start + SALTS_MAX] for start in range(0, len(holdings), SALTS_MAX)]


def _percent(policy: SweepPolicy) -> str:
    return f"{Decimal(policy.cost_bp_max) / 100} %"
