"""The registry of networks and assets, read from one file, and connections to its nodes."""

from collections.abc import Sequence
from dataclasses import fields
from functools import lru_cache
from pathlib import Path
from typing import Any

import msgspec
from django.conf import settings

from chains.assets import Asset, Network, NetworkKind, Registry
from chains.bitcoin.node import BitcoinNode
from chains.evm.limits import ProviderLimits
from chains.evm.node import EvmNode
from chains.nodes import Node
from chains.pool import NodePool
from chains.registry_checks import RegistryError, check_registry

__all__ = ["RegistryError", "node_for", "registry"]


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
    raw = path.read_bytes()
    try:
        content = msgspec.json.decode(raw, type=_File)
    except msgspec.DecodeError as error:
        raise RegistryError(f"NETWORKS_FILE: {error}") from None
    _check_names(msgspec.json.decode(raw))
    check_registry(networks=content.networks, assets=content.assets)
    return Registry(
        networks={network.caip2: network for network in content.networks},
        assets={asset.caip19: asset for asset in content.assets},
    )


def _check_names(content: dict[str, list[dict[str, Any]]]) -> None:
    """Refuse a setting that does not exist: a slip of the pen must not leave a default there."""
    for key, kind in (("networks", Network), ("assets", Asset)):
        known = {field.name for field in fields(kind)}
        for entry in content[key]:
            for name in sorted(set(entry) - known):
                raise RegistryError(f"NETWORKS_FILE: {key} have no setting {name!r}.")


def node_for(network: Network, assets: Sequence[Asset] | None = None) -> NodePool:
    """Every endpoint of a network, asked as one; each one's chain is checked when it connects.

    Its blocks are read for ``assets`` of the network, by default all that the registry lists.
    """
    read = registry().assets_on(network.caip2) if assets is None else assets
    # What a provider refuses is learned once, however often it is connected to.
    limits = {url: ProviderLimits() for url in network.endpoints}

    def connect(url: str) -> Node:
        if network.kind is NetworkKind.EVM:
            return EvmNode(network=network, assets=read, url=url, limits=limits[url])
        return BitcoinNode(network=network, coin=read[0], url=url)

    return NodePool(
        name=network.name,
        urls=network.endpoints,
        connect=connect,
        assets=frozenset(asset.caip19 for asset in read),
    )
