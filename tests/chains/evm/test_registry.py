"""What a registry of EVM networks may not say."""

from collections.abc import Callable

import pytest
from eth_utils.address import to_checksum_address

from alatau_pay.devnet import anvil, bitcoind
from alatau_pay.devnet.nodes import Devnet
from chains.networks import RegistryError, registry
from tests.chains.evm.listed import Content, change_registry, evm_entry, list_token

ZERO = "0x" + "00" * 20


def swap_case(address: str) -> str:
    """The same address with one letter in the wrong case, as a slip of the hand leaves it."""
    at = next(index for index, digit in enumerate(address) if digit in "abcdefABCDEF")
    return address[:at] + address[at].swapcase() + address[at + 1 :]


def asset(content: Content, symbol: str) -> dict[str, object]:
    return next(one for one in content["assets"] if one["symbol"] == symbol)


def test_the_devnets_own_registry_is_accepted(networks: Devnet) -> None:
    assert set(registry().networks) == {bitcoind.CAIP2, anvil.CAIP2}


@pytest.mark.parametrize("name", ["factory", "forwarder", "treasury"])
@pytest.mark.parametrize("spoil", [swap_case, str.lower])
def test_an_address_without_a_valid_checksum_is_refused(
    name: str, spoil: Callable[[str], str], networks: Devnet
) -> None:
    right = getattr(networks.evm, name)
    change_registry(lambda content: evm_entry(content).update({name: spoil(right)}))
    with pytest.raises(RegistryError, match=f"{name}.*{to_checksum_address(right)}"):
        registry()


@pytest.mark.case("R45")
def test_a_tokens_address_without_a_valid_checksum_is_refused(networks: Devnet) -> None:
    list_token(swap_case(networks.evm.resident))
    with pytest.raises(RegistryError, match="EIP-55"):
        registry()


def test_one_contract_in_two_spellings_is_one_token(networks: Devnet) -> None:
    list_token(networks.evm.usdt.lower())
    with pytest.raises(RegistryError, match="listed twice"):
        registry()


@pytest.mark.case("R54")
@pytest.mark.parametrize(("symbol", "decimals"), [("BTC", 6), ("ETH", 6), ("USDT", 37)])
def test_decimals_that_cannot_be_are_refused(symbol: str, decimals: int, networks: Devnet) -> None:
    change_registry(lambda content: asset(content, symbol).update(decimals=decimals))
    with pytest.raises(RegistryError, match="decimals"):
        registry()


def _bitcoin_token(content: Content) -> None:
    asset(content, "USDT")["caip19"] = (
        f"{bitcoind.CAIP2}/erc20:{to_checksum_address('0x' + '11' * 20)}"
    )


@pytest.mark.parametrize(
    ("spoil", "why"),
    [
        (lambda content: evm_entry(content).update(treasury=ZERO), "zero address"),
        (
            lambda content: evm_entry(content).update(treasury=evm_entry(content)["factory"]),
            "three addresses",
        ),
        (lambda content: evm_entry(content).update(final_confirmations=-1), "final_confirmations"),
        (lambda content: evm_entry(content).update(endpoints=["ws://127.0.0.1"]), "endpoints"),
        (lambda content: evm_entry(content).update(endpoints=[]), "endpoints"),
        (lambda content: evm_entry(content).update(block_time_s=0), "block_time_s"),
        (lambda content: evm_entry(content).update(caip2=bitcoind.CAIP2), "eip155|listed twice"),
        (lambda content: asset(content, "USDT").update(start_height=0), "start_height"),
        (lambda content: asset(content, "USDT").update(symbol=""), "symbol"),
        (
            lambda content: asset(content, "USDT").update(
                caip19=f"{anvil.CAIP2}/slip44:1", decimals=18
            ),
            "one coin",
        ),
        (_bitcoin_token, "erc20"),
    ],
)
def test_what_cannot_be_right_is_refused(
    spoil: Callable[[Content], object], why: str, networks: Devnet
) -> None:
    change_registry(spoil)
    with pytest.raises(RegistryError, match=why):
        registry()
