"""Deposit addresses: CREATE2 forwarders that can pay only the treasury baked into them.

The factory deploys a minimal proxy (EIP-1167, in Vyper's own variant) at
``keccak256(0xff ++ factory ++ salt ++ keccak256(init code))[12:]`` (EIP-1014) with
``salt = keccak256(abi.encode(treasury, invoice salt))``: who knows only the factory, the treasury
and the invoice's reference can compute, sweep and check every address, and nobody can redirect one.
"""

from typing import Final

from eth_utils.address import to_canonical_address, to_checksum_address
from eth_utils.crypto import keccak

# Vyper's create_minimal_proxy_to: loader, then the EIP-1167 body around the target.
LOADER: Final = bytes.fromhex("602d3d8160093d39f3")
BODY_HEAD: Final = bytes.fromhex("363d3d373d3d3d363d73")
BODY_TAIL: Final = bytes.fromhex("5af43d82803e903d91602b57fd5bf3")


def invoice_salt(*, network: str, reference: str) -> bytes:
    """The 32-byte salt of a reference: recomputable, should the address table ever be lost."""
    return keccak(text=f"{network}\n{reference}")


def forwarder_address(*, factory: str, forwarder: str, treasury: str, salt: bytes) -> str:
    """Return the EIP-55 address that the factory will give ``salt``; needs no node."""
    if len(salt) != 32:
        raise ValueError("A salt has 32 bytes.")
    init_code = LOADER + BODY_HEAD + to_canonical_address(forwarder) + BODY_TAIL
    bound_salt = keccak(to_canonical_address(treasury).rjust(32, b"\0") + salt)
    preimage = b"\xff" + to_canonical_address(factory) + bound_salt + keccak(init_code)
    return to_checksum_address(keccak(preimage)[12:])
