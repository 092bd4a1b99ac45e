"""Plan sweeps: which addresses go, in which transactions, at what cost. Nothing is signed here.

Only final transfers are worth a sweep, and only what the chain shows at a final block is counted
on. A plan is stored, so that what is sent later is what was shown.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from uuid import UUID

from django.db import transaction

from chains.assets import Asset, Network, NetworkKind, SweepPolicy
from chains.evm.forwarders import forwarder_address
from chains.evm.payer import GasPayer
from chains.evm.sweeps import Fees, SweepChain
from chains.models import Address, Cursor, Deployment, Sweep, SweepItem
from chains.nodes import NodeUnavailableError
from chains.pool import NodePool
from chains.sweeping.batching import Batch, Batcher, Route, wei_per_unit
from chains.sweeping.holdings import Finding, FindingKind, Holding, holdings_of, of_holdings

PriceOf = Callable[[Asset], Decimal | None]
"""The price of a whole coin in any one currency; None where there is none."""


class SweepRefusedError(Exception):
    """A network cannot be swept; the message says why and what to do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedSweep:
    """One transaction to be sent; ``total`` in base units, ``cost_wei`` at the fees of now."""

    asset: str
    treasury: str
    addresses: tuple[str, ...]
    total: int
    gas: int
    cost_wei: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SweepPlan:
    """What would be sent on one network, and what was found on the way."""

    id: UUID
    network: str
    sweeps: tuple[PlannedSweep, ...]
    findings: tuple[Finding, ...]


def plan_sweeps(
    *,
    plan: UUID,
    network: Network,
    assets: Iterable[Asset],
    nodes: NodePool,
    payer: GasPayer,
    price_of: PriceOf,
) -> SweepPlan:
    """Store under ``plan`` the sweeps of a network that are due, and return them.

    Raises SweepRefusedError for a network without a policy or with an unsafe treasury, NodeError.
    """
    policy = policy_of(network)
    chain = SweepChain(network=network, nodes=nodes)
    listed = {asset.caip19: asset for asset in assets}
    block = chain.final_block(height_max=_scanned_height(network))
    batcher = Batcher(chain=chain, policy=policy, fees=chain.fees())
    worths = _worths(listed.values(), price_of)
    made: list[tuple[Route, Batch]] = []
    for minimum in policy.minimums:
        asset = listed[minimum.asset]
        holdings, findings = holdings_of(
            asset=asset, chain=chain, block=block, age_s_max=policy.age_s_max
        )
        batcher.findings += findings
        due = [one for one in holdings if one.value >= minimum.value or (one.value and one.is_old)]
        worth = worths.get(asset.caip19)
        if worth is None:
            why = "no rate for it or for the network's coin"
            batcher.findings += of_holdings(FindingKind.NO_PRICE, asset, due, why)
            continue
        for route, group in _routes(network, asset, payer, due, batcher.findings):
            check_treasury(chain, treasury=route.treasury, payer=payer)
            made += [(route, batch) for batch in batcher.batches(route, group, worth)]
    return SweepPlan(
        id=plan,
        network=network.caip2,
        sweeps=_store(plan, batcher.fees, made),
        findings=tuple(batcher.findings),
    )


def policy_of(network: Network) -> SweepPolicy:
    """The network's policy. Raises SweepRefusedError where it has none."""
    if network.kind is not NetworkKind.EVM or network.sweeping is None:
        raise SweepRefusedError(f"NETWORKS_FILE gives {network.name} no 'sweeping' policy.")
    return network.sweeping


def check_treasury(chain: SweepChain, *, treasury: str, payer: GasPayer) -> None:
    """Refuse a treasury that a key on this server could spend, or that has let itself be acted for.

    Raises SweepRefusedError, NodeError.
    """
    if payer.address in chain.owners_of(treasury):
        raise SweepRefusedError(
            f"The gas payer {payer.address} owns the treasury {treasury}: its key would be able to "
            "spend the coins. Give the gas payer a key of its own."
        )
    if chain.is_delegated(treasury):
        raise SweepRefusedError(
            f"The treasury {treasury} lets a contract act for it (EIP-7702): find out who did that."
        )


def _scanned_height(network: Network) -> int:
    height = Cursor.objects.filter(network=network.caip2).values_list("height", flat=True).first()
    if height is None:
        raise NodeUnavailableError(f"{network.name} was never scanned.")
    return height


def _worths(assets: Iterable[Asset], price_of: PriceOf) -> dict[str, Fraction]:
    """What a base unit of each asset is worth in wei; the coin itself needs no price."""
    listed = list(assets)
    coin = next((asset for asset in listed if asset.contract is None), None)
    coin_price = price_of(coin) if coin else None
    worths = {}
    for asset in listed:
        if asset is coin:
            worths[asset.caip19] = Fraction(1)
            continue
        price = price_of(asset)
        if coin and coin_price and price:
            worth = wei_per_unit(asset, coin, price=price, coin_price=coin_price)
            worths[asset.caip19] = worth
    return worths


def _routes(
    network: Network,
    asset: Asset,
    payer: GasPayer,
    holdings: Sequence[Holding],
    findings: list[Finding],
) -> list[tuple[Route, list[Holding]]]:
    """Holdings by the factory and the treasury that their addresses were made for.

    That may be others than the registry names now: coins go where the address says.
    """
    groups: dict[Route, list[Holding]] = {}
    strays = []
    for one in holdings:
        made_for = _made_for(one.address, network)
        if made_for is None:
            strays.append(one)
            continue
        route = Route(
            asset=asset,
            sender=payer.address,
            factory=made_for.factory,
            treasury=made_for.treasury,
        )
        groups.setdefault(route, []).append(one)
    why = "made for no contracts that the registry ever named"
    findings += of_holdings(FindingKind.OTHER_TREASURY, asset, strays, why)
    return list(groups.items())


def _made_for(address: Address, network: Network) -> Deployment | None:
    """The contracts that an address computes from: those of its row, or of the registry now."""
    now = Deployment(
        factory=network.factory, forwarder=network.forwarder, treasury=network.treasury
    )
    for deployment in (address.deployment, now):
        if deployment is not None and address.text == forwarder_address(
            factory=deployment.factory,
            forwarder=deployment.forwarder,
            treasury=deployment.treasury,
            salt=bytes(address.salt or b""),
        ):
            return deployment
    return None


@transaction.atomic
def _store(plan: UUID, fees: Fees, made: Sequence[tuple[Route, Batch]]) -> tuple[PlannedSweep, ...]:
    planned = []
    for route, batch in made:
        sweep = Sweep.objects.create(
            plan=plan,
            network=route.asset.network,
            asset=route.asset.caip19,
            factory=route.factory,
            treasury=route.treasury,
            gas_estimate=batch.gas,
            gas_limit=batch.gas_limit,
            fee_wei_per_gas=fees.total_wei,
            fee_wei_per_gas_max=batch.fee_wei_per_gas_max,
        )
        SweepItem.objects.bulk_create(
            SweepItem(sweep=sweep, address=one.address, asset=sweep.asset, value=one.value)
            for one in batch.holdings
        )
        planned.append(
            PlannedSweep(
                asset=sweep.asset,
                treasury=sweep.treasury,
                addresses=tuple(one.address.text for one in batch.holdings),
                total=batch.total,
                gas=batch.gas,
                cost_wei=batch.gas * fees.total_wei,
            )
        )
    return tuple(planned)
