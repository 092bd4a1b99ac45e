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
from chains.nodes import Node, NodeUnavailableError

CAIP2: Final = re.compile(r"(bip122:[0-9a-f]{32}|eip155:[1-9][0-9]{0,17})")
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
        return _read(path, path.stat().st_mtime_ns)
    except OSError as error:
        raise RegistryError(f"NETWORKS_FILE: {path} cannot be read ({error.strerror}).") from None


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
    return Registry(networks=networks, assets=assets)


def _check(network: Network) -> None:
    if not CAIP2.fullmatch(network.caip2):
        raise RegistryError(f"NETWORKS_FILE: {network.caip2!r} is no CAIP-2 id.")
    if not network.endpoints:
        raise RegistryError(f"NETWORKS_FILE: {network.name} names no endpoints.")
    if network.kind is NetworkKind.BITCOIN:
        if network.final_confirmations < 1:
            raise RegistryError(f"NETWORKS_FILE: {network.name}: final_confirmations is below 1.")
        try:
            parse_account_key(network.account_key, network=network.caip2)
        except AccountKeyError as error:
            raise RegistryError(f"NETWORKS_FILE: {network.name}: account_key: {error}") from None
        return
    for name in ("factory", "forwarder", "treasury"):
        if not re.fullmatch(r"0x[0-9a-fA-F]{40}", getattr(network, name)):
            raise RegistryError(f"NETWORKS_FILE: {network.name}: {name} is no address.")


def node_for(network: Network) -> Node:
    """Connect to the first endpoint that answers; its chain is checked at every connect.

    Raises NodeUnavailableError when none answers, WrongChainError.
    """
    assets = registry().assets_on(network.caip2)
    failure: NodeUnavailableError | None = None
    for url in network.endpoints:
        try:
            if network.kind is NetworkKind.EVM:
                return EvmNode(network=network, assets=assets, url=url)
            return BitcoinNode(network=network, coin=assets[0], url=url)
        except NodeUnavailableError as error:
            failure = error
    raise failure or NodeUnavailableError(f"{network.name} has no endpoint.")
