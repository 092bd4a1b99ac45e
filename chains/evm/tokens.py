"""What accounts hold at a block, named by its hash: no lagging node answers for another block."""

from collections.abc import Sequence
from typing import Final

from eth_abi.abi import decode, encode
from eth_abi.exceptions import DecodingError
from eth_utils.abi import function_signature_to_4byte_selector

from chains.evm.rpc import EvmRpc, octets
from chains.nodes import NodeUnavailableError

BALANCE_OF: Final = function_signature_to_4byte_selector("balanceOf(address)")
BALANCES_OF: Final = function_signature_to_4byte_selector("balances_of(address[])")
HOLDERS_MAX: Final = 500
"""How many the factory takes at once."""


def token_balances(
    rpc: EvmRpc, places: Sequence[tuple[str, bytes]], *, block_hash: str
) -> list[int]:
    """Base units that accounts hold of tokens; ``places`` are contract (hex) and account.

    Raises NodeUnavailableError where the node has forgotten the block's state.
    """
    at = {"blockHash": f"0x{block_hash}"}
    rows = [
        [{"to": contract, "data": f"0x{(BALANCE_OF + encode(['address'], [who])).hex()}"}, at]
        for contract, who in places
    ]
    answers = rpc.batch("eth_call", rows)
    return [int.from_bytes(octets(answer, length=32), "big") for answer in answers]


def coin_balances(
    rpc: EvmRpc, accounts: Sequence[bytes], *, factory: str, block_hash: str
) -> list[int]:
    """Wei that accounts hold, many in each call of the factory's view.

    Raises NodeUnavailableError where the node has forgotten the block's state.
    """
    held: list[int] = []
    for start in range(0, len(accounts), HOLDERS_MAX):
        some = list(accounts[start : start + HOLDERS_MAX])
        data = BALANCES_OF + encode(["address[]"], [some])
        call = {"to": factory, "data": f"0x{data.hex()}"}
        said = octets(rpc.call("eth_call", call, {"blockHash": f"0x{block_hash}"}))
        try:
            (values,) = decode(["uint256[]"], said)
        except DecodingError:
            values = ()
        if len(values) != len(some):
            raise NodeUnavailableError("The factory does not tell balances.")
        held += values
    return held
