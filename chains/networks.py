"""The registry of networks and assets, read from one file, and connections to its nodes."""

import re
from functools import lru_cache
from pathlib import Path
from typing import Final

import msgspec
from django.conf import settings

from chains.assets import Asset, Network, NetworkKind, Registry
from chains.bitcoin.keys import AccountKeyError, parse_account_key
from chains.bitcoin.node import BitcoinNode
from chains.evm.node import EvmNode
from chains.nodes import Node
from chains.pool import NodePool

CAIP2: Final = re.compile(r"(bip122:[0-9a-f]{32}|eip155:[1-9][0-9]{0,17})")
DEVNETS: Final = frozenset({"bip122:0f9188f13cb7b2c71f2a335e3a4fc328", "eip155:31337"})
"""A regtest bitcoind and a local EVM node: coins of no value."""
CAIP19: Final = re.compile(CAIP2.pattern + r"/(slip44:[0-9]+|erc20:0x[0-9a-fA-F]{40})")


class RegistryError(Exception):
    """NETWORKS_FILE cannot be used; the message says where and why, and repeats no key."""


class _File(msgspec.Struct, forbid_unknown_fields=True):
    networks: list[Network]
    assets: list[Asset]


def registry() -> Registry:
    """Return the registry that ``settings.NETWORKS_FILE`` names; empty where it names none.

    Raises RegistryError.
    """
    if not settings.NETWORKS_FILE:
        return Registry(networks={}, assets={})
    path = Path(settings.NETWORKS_FILE)
    try:
        listed = _read(path, path.stat().st_mtime_ns)
    except OSError as error:
        raise RegistryError(f"NETWORKS_FILE: {path} cannot be read ({error.strerror}).") from None
    if settings.DEVNET and not all(one.is_devnet for one in listed.networks.values()):
        # DEVNET brings fixed rates and a test wallet: never beside coins that are worth something.
        raise RegistryError("DEVNET is on, but NETWORKS_FILE names a network that is no devnet.")
    return listed


@lru_cache(maxsize=4)
def _read(path: Path, _modified_ns: int) -> Registry:
    try:
        content = msgspec.json.decode(path.read_bytes(), type=_File)
    except msgspec.DecodeError as error:
        raise RegistryError(f"NETWORKS_FILE: {error}") from None
    for network in content.networks:
        _check(network)
    networks = {network.caip2: network for network in content.networks}
    assets = {asset.caip19: asset for asset in content.assets}
    if len(networks) != len(content.networks) or len(assets) != len(content.assets):
        raise RegistryError("NETWORKS_FILE: a network or an asset is listed twice.")
    for asset in content.assets:
        if not CAIP19.fullmatch(asset.caip19) or asset.network not in networks:
            raise RegistryError(f"NETWORKS_FILE: {asset.caip19} is no asset of a listed network.")
    for network in content.networks:
        coins = [one for one in content.assets if one.network == network.caip2 and not one.contract]
        if network.kind is NetworkKind.BITCOIN and len(coins) != 1:
            raise RegistryError(f"NETWORKS_FILE: {network.name} needs its one coin among assets.")
    return Registry(networks=networks, assets=assets)


def _check(network: Network) -> None:
    if not CAIP2.fullmatch(network.caip2):
        raise RegistryError(f"NETWORKS_FILE: {network.caip2!r} is no CAIP-2 id.")
    if network.is_devnet != (network.caip2 in DEVNETS):
        raise RegistryError(f"NETWORKS_FILE: {network.name}: is_devnet is wrong for this network.")
    if any(
        tier.asset.partition("/")[0] != network.caip2 or tier.confirmations < 0
        for tier in network.finality_tiers
    ):
        raise RegistryError(f"NETWORKS_FILE: {network.name}: a tier of finality is wrong.")
    if not network.endpoints:
        raise RegistryError(f"NETWORKS_FILE: {network.name} names no endpoints.")
    check = _check_bitcoin if network.kind is NetworkKind.BITCOIN else _check_evm
    check(network)


def _check_evm(network: Network) -> None:
    for name in ("factory", "forwarder", "treasury"):
        if not re.fullmatch(r"0x[0-9a-fA-F]{40}", getattr(network, name)):
            raise RegistryError(f"NETWORKS_FILE: {network.name}: {name} is no address.")


def _check_bitcoin(network: Network) -> None:
    if network.final_confirmations < 1:
        raise RegistryError(f"NETWORKS_FILE: {network.name}: final_confirmations is below 1.")
    try:
        parse_account_key(network.account_key, network=network.caip2)
    except AccountKeyError as error:
        raise RegistryError(f"NETWORKS_FILE: {network.name}: account_key: {error}") from None


def node_for(network: Network) -> NodePool:
    """Every endpoint of a network, asked as one; each one's chain is checked when it connects."""
    assets = registry().assets_on(network.caip2)

    def connect(url: str) -> Node:
        if network.kind is NetworkKind.EVM:
            return EvmNode(network=network, assets=assets, url=url)
        return BitcoinNode(network=network, coin=assets[0], url=url)

    return NodePool(name=network.name, urls=network.endpoints, connect=connect)
