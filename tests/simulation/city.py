"""The registry that a simulated city runs on, and the networks as one seed configures them."""

import json
import random
from collections.abc import Mapping
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Final

from bip32 import BIP32
from eth_utils.address import to_checksum_address

from alatau_pay.devnet import anvil, bitcoind
from chains.assets import FinalityTier, NativeMode, Network
from chains.networks import registry
from tests.simulation.evm_chain import Rules

BTC: Final = f"{bitcoind.CAIP2}/slip44:1"
ETH: Final = f"{anvil.CAIP2}/slip44:60"
USDT: Final = f"{anvil.CAIP2}/erc20:{to_checksum_address('0x' + '11' * 20)}"
USDC: Final = f"{anvil.CAIP2}/erc20:{to_checksum_address('0x' + '22' * 20)}"
READ_IN_BLOCKS: Final = (NativeMode.CALLS, NativeMode.TRACES, NativeMode.LOGS)
"""Balances are tried on a real node: a model chain has no state to ask for."""
RATES: Final[Mapping[str, Decimal]] = {
    "BTC": Decimal("45000000.13"),
    "ETH": Decimal("1500000.07"),
    "USDT": Decimal("475.37"),
    "USDC": Decimal("475.11"),
}
ASSETS: Final = (
    (BTC, "BTC", "Bitcoin", 8),
    (ETH, "ETH", "Ether", 18),
    (USDT, "USDT", "Tether USD", 6),
    (USDC, "USDC", "USD Coin", 6),
)


def write_registry(path: Path) -> None:
    """Write NETWORKS_FILE: a Bitcoin-like and an EVM-like network that only models speak for."""
    account = BIP32.from_seed(b"a simulated city's wallet", network="test")
    common = {"endpoints": ["http://127.0.0.1:1", "http://127.0.0.1:2"], "is_devnet": True}
    bitcoin = {
        "caip2": bitcoind.CAIP2,
        "kind": "bitcoin",
        "name": "Bitcoin",
        "coin": "BTC",
        "final_confirmations": 2,
        "block_time_s": 600,
        "start_height": 2,
        "account_key": account.get_xpub_from_path("m/84'/1'/0'"),
        **common,
    }
    evm = {
        "caip2": anvil.CAIP2,
        "kind": "evm",
        "name": "Ethereum",
        "coin": "ETH",
        "final_confirmations": 0,
        "block_time_s": 12,
        "start_height": 2,
        "factory": to_checksum_address(b"\xa1" * 20),
        "forwarder": to_checksum_address(b"\xa2" * 20),
        "treasury": to_checksum_address(b"\xa3" * 20),
        **common,
    }
    names = ("caip19", "symbol", "name", "decimals")
    assets = [dict(zip(names, row, strict=True)) for row in ASSETS]
    path.write_text(json.dumps({"networks": [bitcoin, evm], "assets": assets}))


def networks_of(rng: random.Random) -> dict[str, Network]:
    """The two networks, each with a policy of finality that the seed chooses."""
    listed = registry().networks
    bitcoin = replace(
        listed[bitcoind.CAIP2],
        final_confirmations=rng.choice((1, 2, 3, 6)),
        endpoints=_endpoints(rng),
    )
    evm = replace(
        listed[anvil.CAIP2],
        final_confirmations=rng.choice((0, 0, 2, 4)),
        endpoints=_endpoints(rng),
        native=rng.choice(READ_IN_BLOCKS),
        # The contracts are there: no seed is about their deployment.
        factory="",
    )
    if rng.random() < 0.3:
        tiers = ((BTC, 100_000, 1), (BTC, 10_000_000, 3))
        bitcoin = replace(
            bitcoin,
            final_confirmations=6,
            finality_tiers=tuple(
                FinalityTier(asset=asset, value_max=value, confirmations=needed)
                for asset, value, needed in tiers
            ),
        )
    return {bitcoin.caip2: bitcoin, evm.caip2: evm}


def rules_of(network: Network) -> Rules:
    """How an EVM network counts payments, for its model."""
    return Rules(
        native=network.native,
        coin=ETH,
        tokens={bytes.fromhex(asset[-40:]): asset for asset in (USDT, USDC)},
    )


def _endpoints(rng: random.Random) -> tuple[str, ...]:
    return tuple(f"http://127.0.0.1:{port}" for port in range(1, rng.choice((1, 2, 2, 3)) + 1))
