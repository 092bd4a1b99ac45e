"""The networks and assets a registry can name: plain facts, no input or output.

Networks are named by CAIP-2 (``bip122:<genesis>``, ``eip155:<chain id>``), assets by CAIP-19
(``<network>/slip44:<coin>`` for a network's own coin, ``<network>/erc20:<contract>`` for a token).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

PAYABLE_DECIMALS_MAX: Final = 8
"""No finer amount is asked for: wallets and exchanges cut ether at eight digits or fewer."""
GAS_OF_TRANSACTION_MAX: Final = 2**24
"""No network takes a transaction with more (EIP-7825)."""
ASSET_DECIMALS_MAX: Final = 36
"""Amounts have at most 78 digits; no coin that is worth listing comes near."""


class NetworkKind(StrEnum):
    """Which family of nodes speaks for a network."""

    BITCOIN = "bitcoin"
    EVM = "evm"


class NativeMode(StrEnum):
    """How payments in an EVM network's own coin are found; one network uses one way only.

    ``calls`` sees what transactions carry themselves; ``traces`` also what contracts pass on, on
    nodes that trace; ``balances`` sees all, once it is final, on any node; ``logs`` is for networks
    with EIP-7708.
    """

    CALLS = "calls"
    TRACES = "traces"
    BALANCES = "balances"
    LOGS = "logs"


class FinalTag(StrEnum):
    """Which of an EVM node's tagged blocks settles payments where no confirmations are counted."""

    SAFE = "safe"
    FINALIZED = "finalized"


@dataclass(frozen=True, slots=True, kw_only=True)
class FinalityTier:
    """How deep payments of one asset (CAIP-19) up to ``value_max`` base units must be to settle."""

    asset: str
    value_max: int
    confirmations: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SweepMinimum:
    """The base units of a CAIP-19 asset from which an address is worth a sweep."""

    asset: str
    value: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SweepPolicy:
    """When coins go from a network's forwarders to the treasury, and what that may cost.

    An asset that ``minimums`` does not name is never swept. Coins older than ``age_s_max`` go
    whatever the minimum says (0: never). No sweep may cost more than ``cost_bp_max`` hundredths of
    a percent of what it moves, ``fee_wei_per_gas_max`` for its gas, or use more than ``gas_max``.
    A sweep that is not mined after ``replace_after_s`` is sent again with a higher fee. Below
    ``payer_wei_min`` the gas payer asks to be topped up. Raises ValueError for a policy that cannot
    be meant.
    """

    minimums: tuple[SweepMinimum, ...]
    age_s_max: int = 0
    gas_max: int
    fee_wei_per_gas_max: int
    cost_bp_max: int
    replace_after_s: int = 300
    payer_wei_min: int

    def __post_init__(self) -> None:
        assets = {one.asset for one in self.minimums}
        if len(assets) != len(self.minimums) or any(one.value <= 0 for one in self.minimums):
            raise ValueError("sweeping: an asset has two minimums, or one of zero or less")
        if not 0 < self.gas_max <= GAS_OF_TRANSACTION_MAX:
            raise ValueError(f"sweeping: gas_max is not within 1 to {GAS_OF_TRANSACTION_MAX}")
        if not 0 < self.cost_bp_max <= 10_000:
            raise ValueError("sweeping: cost_bp_max is not within 1 to 10000")
        if min(self.fee_wei_per_gas_max, self.replace_after_s, self.payer_wei_min) <= 0:
            raise ValueError("sweeping: a fee, a time or a balance is not above zero")
        if self.age_s_max < 0:
            raise ValueError("sweeping: age_s_max is below zero")


@dataclass(frozen=True, slots=True, kw_only=True)
class Network:
    """One network as the operator configured it.

    ``endpoints`` are node URLs in order of preference and may hold credentials: never show them.
    ``final_confirmations`` of 0 means that the node's ``final_tag`` block decides (EVM);
    ``start_height`` is the first block that can hold a payment to this gateway.
    """

    caip2: str
    kind: NetworkKind
    name: str
    coin: str
    endpoints: tuple[str, ...] = field(repr=False)
    push: str = field(default="", repr=False)
    final_confirmations: int
    block_time_s: int
    start_height: int
    account_key: str = field(default="", repr=False)
    factory: str = ""
    forwarder: str = ""
    treasury: str = ""
    is_devnet: bool = False
    finality_tiers: tuple[FinalityTier, ...] = ()
    native: NativeMode = NativeMode.CALLS
    final_tag: FinalTag = FinalTag.FINALIZED
    sweeping: SweepPolicy | None = None

    @property
    def confirmations(self) -> frozenset[int]:
        """Every number of confirmations that some payment on this network needs."""
        tiers = (tier.confirmations for tier in self.finality_tiers)
        return frozenset({self.final_confirmations, *tiers})

    def confirmations_for(self, asset: str, value: int) -> int:
        """Confirmations that ``value`` base units of a CAIP-19 asset need; 0 for the network's tag.

        The lowest tier that holds the value decides, and ``final_confirmations`` above all tiers.
        """
        fitting = [
            tier for tier in self.finality_tiers if tier.asset == asset and value <= tier.value_max
        ]
        lowest = min(fitting, key=lambda tier: tier.value_max, default=None)
        return self.final_confirmations if lowest is None else lowest.confirmations

    @property
    def chain_id(self) -> int:
        """The EIP-155 chain id; ValueError for a network that is not ``eip155``."""
        namespace, _, reference = self.caip2.partition(":")
        if namespace != "eip155":
            raise ValueError(f"{self.caip2} has no EIP-155 chain id")
        return int(reference)


@dataclass(frozen=True, slots=True, kw_only=True)
class Asset:
    """One coin or token; amounts of it are integers of ``10 ** -decimals`` units.

    ``start_height`` is the first block that can pay in it, by default the network's: a token that
    is listed later is looked for from there on. ``fee_on_transfer`` says that its contract may
    deliver less than its logs tell: then what arrived is read from balances (R51).
    """

    caip19: str
    symbol: str
    name: str
    decimals: int
    start_height: int | None = None
    fee_on_transfer: bool = False

    @property
    def network(self) -> str:
        """The CAIP-2 id of the network that carries this asset."""
        return self.caip19.partition("/")[0]

    @property
    def payable_decimals(self) -> int:
        """Fractional digits of the amounts that payers are asked to send."""
        return min(self.decimals, PAYABLE_DECIMALS_MAX)

    @property
    def contract(self) -> str | None:
        """The ERC-20 contract's address, or None for a network's own coin."""
        namespace, _, reference = self.caip19.partition("/")[2].partition(":")
        return reference if namespace == "erc20" else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Registry:
    """Every network by CAIP-2 id and every asset by CAIP-19 id."""

    networks: Mapping[str, Network]
    assets: Mapping[str, Asset]

    def assets_on(self, network: str) -> tuple[Asset, ...]:
        """The assets that one network carries, in the registry's order."""
        return tuple(asset for asset in self.assets.values() if asset.network == network)
