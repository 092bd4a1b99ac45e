"""Whether a registry can be trusted with money: what can be told without asking a node.

A wrong address in the registry would take in payments that nobody can sweep, and a wrong number of
decimals would price them a million times too high or too low. So what is not certain is refused.
"""

import re
from collections.abc import Sequence
from typing import Final
from urllib.parse import urlsplit

from eth_utils.address import is_checksum_address, to_checksum_address

from chains.assets import ASSET_DECIMALS_MAX, Asset, Network, NetworkKind
from chains.bitcoin.keys import AccountKeyError, parse_account_key

CAIP2: Final = re.compile(r"(bip122:[0-9a-f]{32}|eip155:[1-9][0-9]{0,17})")
CAIP19: Final = re.compile(CAIP2.pattern + r"/(slip44:[0-9]+|erc20:0x[0-9a-fA-F]{40})")
DEVNETS: Final = frozenset({"bip122:0f9188f13cb7b2c71f2a335e3a4fc328", "eip155:31337"})
"""A regtest bitcoind and a local EVM node: coins of no value."""
COIN_DECIMALS: Final = {NetworkKind.BITCOIN: 8, NetworkKind.EVM: 18}
"""BIP-21 counts in bitcoin of 8 decimals, EIP-681 in wei whatever the coin is called."""
HTTP: Final = ("http", "https")
PUSH: Final = {NetworkKind.BITCOIN: ("tcp", "ipc"), NetworkKind.EVM: ("ws", "wss")}
HEX_ADDRESS: Final = re.compile(r"0x[0-9a-fA-F]{40}")


class RegistryError(Exception):
    """NETWORKS_FILE cannot be used; the message says where and why, and repeats no key."""


def check_registry(*, networks: Sequence[Network], assets: Sequence[Asset]) -> None:
    """Raise RegistryError for the first entry that cannot be right."""
    for network in networks:
        _check_network(network)
    named = {network.caip2: network for network in networks}
    # CAIP-19 ids of tokens differ in case alone where they name the same contract.
    ids = {asset.caip19.lower() for asset in assets}
    if len(named) != len(networks) or len(ids) != len(assets):
        raise RegistryError("NETWORKS_FILE: a network or an asset is listed twice.")
    for asset in assets:
        if not CAIP19.fullmatch(asset.caip19) or asset.network not in named:
            raise RegistryError(f"NETWORKS_FILE: {asset.caip19} is no asset of a listed network.")
        _check_asset(asset, named[asset.network])
    _check_keys(networks)
    for network in networks:
        _check_coins(network, [asset for asset in assets if asset.network == network.caip2])


def _check_network(network: Network) -> None:
    if not CAIP2.fullmatch(network.caip2):
        raise RegistryError(f"NETWORKS_FILE: {network.caip2!r} is no CAIP-2 id.")
    if network.is_devnet != (network.caip2 in DEVNETS):
        raise _wrong(network, "is_devnet is wrong for this network")
    if any(
        tier.asset.partition("/")[0] != network.caip2 or tier.confirmations < 0
        for tier in network.finality_tiers
    ):
        raise _wrong(network, "a tier of finality is wrong")
    if not network.endpoints or any(not _is_url(url, HTTP) for url in network.endpoints):
        raise _wrong(network, "endpoints must be a list of http:// or https:// URLs")
    if network.push and not _is_url(network.push, PUSH[network.kind]):
        wanted = " or ".join(f"{scheme}://" for scheme in PUSH[network.kind])
        raise _wrong(network, f"push must be a URL that starts with {wanted}")
    if network.block_time_s <= 0 or network.start_height < 0:
        raise _wrong(network, "block_time_s or start_height is wrong")
    check = _check_bitcoin if network.kind is NetworkKind.BITCOIN else _check_evm
    check(network)


def _check_bitcoin(network: Network) -> None:
    if not network.caip2.startswith("bip122:"):
        raise _wrong(network, "a bitcoin network's caip2 begins with bip122")
    if network.final_confirmations < 1:
        raise _wrong(network, "final_confirmations is below 1")
    try:
        parse_account_key(network.account_key, network=network.caip2)
    except AccountKeyError as error:
        raise RegistryError(f"NETWORKS_FILE: {network.name}: account_key: {error}") from None


def _check_keys(networks: Sequence[Network]) -> None:
    """Refuse one key on two networks, in whatever spelling: its indices are counted once (R33)."""
    keys = [
        parse_account_key(network.account_key, network=network.caip2).fingerprint
        for network in networks
        if network.kind is NetworkKind.BITCOIN
    ]
    if len(set(keys)) != len(keys):
        raise RegistryError("NETWORKS_FILE: two networks name the same account_key.")


def _check_evm(network: Network) -> None:
    if not network.caip2.startswith("eip155:"):
        raise _wrong(network, "an evm network's caip2 begins with eip155")
    if network.final_confirmations < 0:
        raise _wrong(network, "final_confirmations is below 0")
    for name in ("factory", "forwarder", "treasury"):
        text = getattr(network, name)
        _check_address(f"{network.name}: {name}", text)
        if int(text, 16) == 0:
            raise _wrong(network, f"{name} is the zero address: what is sent there is lost")
    if len({network.factory, network.forwarder, network.treasury}) != 3:
        raise _wrong(network, "factory, forwarder and treasury are three addresses")


def _check_asset(asset: Asset, network: Network) -> None:
    if asset.contract is not None:
        if network.kind is not NetworkKind.EVM:
            raise _wrong(network, "only an evm network carries erc20 tokens")
        _check_address(asset.caip19, asset.contract)
    pinned = COIN_DECIMALS[network.kind] if asset.contract is None else asset.decimals
    if asset.decimals != pinned or not 0 <= asset.decimals <= ASSET_DECIMALS_MAX:
        raise RegistryError(f"NETWORKS_FILE: {asset.caip19}: decimals is wrong for this asset.")
    if not asset.symbol or not asset.name:
        raise RegistryError(f"NETWORKS_FILE: {asset.caip19} needs a symbol and a name.")
    if asset.start_height is not None and asset.start_height < network.start_height:
        raise RegistryError(
            f"NETWORKS_FILE: {asset.caip19}: start_height is below the network's own."
        )


def _check_coins(network: Network, assets: Sequence[Asset]) -> None:
    coins = [asset for asset in assets if asset.contract is None]
    if network.kind is NetworkKind.BITCOIN and len(coins) != 1:
        raise RegistryError(f"NETWORKS_FILE: {network.name} needs its one coin among assets.")
    if len(coins) > 1:
        raise RegistryError(f"NETWORKS_FILE: {network.name} has one coin, and lists two.")
    if network.sweeping is not None:
        listed = {asset.caip19 for asset in assets}
        if network.kind is not NetworkKind.EVM or not coins:
            raise _wrong(network, "sweeping is for EVM networks that list their coin")
        if any(minimum.asset not in listed for minimum in network.sweeping.minimums):
            raise _wrong(network, "sweeping has a minimum for an asset that is not listed there")


def _check_address(where: str, text: str) -> None:
    """Refuse an address whose EIP-55 checksum is missing or wrong: a typing error is money lost."""
    if not HEX_ADDRESS.fullmatch(text):
        raise RegistryError(f"NETWORKS_FILE: {where} is no address.")
    if not is_checksum_address(text):
        raise RegistryError(
            f"NETWORKS_FILE: {where}: the EIP-55 checksum is missing or wrong; after checking "
            f"every digit, write {to_checksum_address(text)}."
        )


def _is_url(url: str, schemes: Sequence[str]) -> bool:
    try:
        parts = urlsplit(url)
        return parts.scheme in schemes and bool(parts.hostname or parts.path) and parts.port != 0
    except ValueError:
        return False


def _wrong(network: Network, why: str) -> RegistryError:
    return RegistryError(f"NETWORKS_FILE: {network.name}: {why}.")
