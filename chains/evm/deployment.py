"""Whether an EVM network's contracts are those that our addresses are computed for.

Addresses are given out without asking a node. So before a network is read, its node must show that
what the registry names is on chain and gives the very addresses that we compute: a coin sent to an
address of another factory, or for another treasury, could never be swept.
"""

from collections.abc import Sequence
from typing import Final

from eth_abi.abi import encode
from eth_utils.abi import function_signature_to_4byte_selector
from eth_utils.address import to_canonical_address

from chains.assets import Asset, Network
from chains.evm.forwarders import forwarder_address
from chains.evm.rpc import REVERTED, EvmRpc, RpcRefusedError, octets, quantity
from chains.nodes import NodeBlindError, WrongContractsError

PROBE_SALT: Final = b"alatau pay: a salt of no address".ljust(32, b".")
Call = Sequence[str | bytes | int]
REBASING: Final = ("sharesOf(address)", "scaledBalanceOf(address)", "rebasingCreditsPerToken()")
"""Views that tokens have whose balances change by themselves: Lido; Aave and Ampleforth; Origin.
One that hides it is found by what its holders hold (``chains.sweeping.holdings``)."""
NOBODY: Final = "0x" + "11" * 20
DELEGATED: Final = bytes.fromhex("ef0100")
"""EIP-7702: the code of an account that obeys another's code begins so."""


def check_deployment(*, rpc: EvmRpc, network: Network) -> None:
    """Raise WrongContractsError unless factory and forwarder on chain are the registry's.

    They must name each other, and the factory must compute a probe's address as we do. Raises
    NodeUnavailableError, NodeBlindError where the contracts may be beyond what the node has.
    """
    if quantity(rpc.call("eth_blockNumber")) < network.start_height - 1:
        raise NodeBlindError(f"The node of {network.name} is catching up.")
    for name in ("factory", "forwarder"):
        if not code_at(rpc, getattr(network, name)):
            raise _wrong(network, f"there is no contract at {name} {getattr(network, name)}")
    if _address(rpc, network.factory, "FORWARDER()") != to_canonical_address(network.forwarder):
        raise _wrong(network, "the factory deploys another forwarder")
    if _address(rpc, network.forwarder, "FACTORY()") != to_canonical_address(network.factory):
        raise _wrong(network, "the forwarder obeys another factory")
    computed = forwarder_address(
        factory=network.factory,
        forwarder=network.forwarder,
        treasury=network.treasury,
        salt=PROBE_SALT,
    )
    probe = (("address", "bytes32"), (network.treasury, PROBE_SALT))
    said = _address(rpc, network.factory, "address_of(address,bytes32)", *probe)
    if said != to_canonical_address(computed):
        raise _wrong(network, "the factory computes other addresses than we do")


def code_at(rpc: EvmRpc, address: str) -> bytes:
    """The code of an account at the best block; empty for one without."""
    return octets(rpc.call("eth_getCode", address, "latest"))


def wrong_tokens(*, rpc: EvmRpc, assets: Sequence[Asset]) -> dict[str, str]:
    """What is wrong with tokens, by CAIP-19.

    Their ``decimals()`` are not the registry's (R54), or their balances change by themselves (R52).
    """
    wrong: dict[str, str] = {}
    for asset in assets:
        if asset.contract is None:
            continue
        said = _called(rpc, asset.contract, "decimals()")
        if said is None or len(said) != 32:
            wrong[asset.caip19] = "the contract does not say its decimals"
        elif int.from_bytes(said, "big") != asset.decimals:
            wrong[asset.caip19] = (
                f"the contract says {int.from_bytes(said, 'big')} decimals, "
                f"the registry {asset.decimals}"
            )
        elif any(_answers(rpc, asset.contract, view) for view in REBASING):
            wrong[asset.caip19] = "its balances change by themselves; such a token cannot be listed"
    return wrong


def _answers(rpc: EvmRpc, contract: str, signature: str) -> bool:
    """Whether a contract has a view, of an address or of nothing: what is too much is not read."""
    said = _called(rpc, contract, signature, ["address"], [NOBODY])
    return said is not None and len(said) >= 32


def _address(
    rpc: EvmRpc, contract: str, signature: str, types: Sequence[str] = (), values: Call = ()
) -> bytes | None:
    said = _called(rpc, contract, signature, types, values)
    return said[12:] if said is not None and len(said) == 32 else None


def _called(
    rpc: EvmRpc,
    contract: str,
    signature: str,
    types: Sequence[str] = (),
    values: Call = (),
) -> bytes | None:
    """What a contract's view answers; None where it reverts.

    Any other refusal, such as of too many questions, says nothing about the contract and is raised.
    """
    data = function_signature_to_4byte_selector(signature) + encode(types, values)
    try:
        said = rpc.call("eth_call", {"to": contract, "data": f"0x{data.hex()}"}, "latest")
    except RpcRefusedError as error:
        if error.code == REVERTED or "revert" in str(error):
            return None
        raise
    return octets(said)


def _wrong(network: Network, why: str) -> WrongContractsError:
    return WrongContractsError(
        f"{network.name} in NETWORKS_FILE: {why}. Nothing is read and nobody is asked to pay there."
    )
