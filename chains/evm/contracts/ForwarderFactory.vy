# pragma version 0.4.3
"""
@title Factory of deposit forwarders
@notice Anyone may sweep; the treasury is part of the salt, so a forwarder's address fixes where
        its coins go. EIP-1014 (CREATE2), EIP-1167 in Vyper's variant.
"""

interface Forwarder:
    def forward(token: address, treasury: address) -> uint256: nonpayable

event Swept:
    forwarder: indexed(address)
    token: indexed(address)
    amount: uint256

FORWARDER: public(immutable(address))

@deploy
def __init__(forwarder: address):
    FORWARDER = forwarder

@internal
@pure
def _salt(treasury: address, salt: bytes32) -> bytes32:
    return keccak256(abi_encode(treasury, salt))

@internal
@view
def _address_of(treasury: address, salt: bytes32) -> address:
    code: bytes32 = keccak256(concat(
        x"602d3d8160093d39f3363d3d373d3d3d363d73",
        convert(FORWARDER, bytes20),
        x"5af43d82803e903d91602b57fd5bf3",
    ))
    digest: bytes32 = keccak256(concat(
        x"ff", convert(self, bytes20), self._salt(treasury, salt), code
    ))
    return convert(convert(digest, uint256) & convert(max_value(uint160), uint256), address)

@external
@view
def address_of(treasury: address, salt: bytes32) -> address:
    """
    @notice The address that a salt has, deployed or not
    """
    return self._address_of(treasury, salt)

@external
@view
def balances_of(holders: DynArray[address, 500]) -> DynArray[uint256, 500]:
    """
    @notice What accounts hold of the chain's own coin, many in one call
    """
    balances: DynArray[uint256, 500] = []
    for holder: address in holders:
        balances.append(holder.balance)
    return balances

@external
def sweep(treasury: address, token: address, salts: DynArray[bytes32, 200]):
    """
    @notice Move what forwarders hold to their treasury, deploying those that are not yet there
    @param token An ERC-20 contract, or the zero address for the chain's own coin
    """
    for salt: bytes32 in salts:
        forwarder: address = self._address_of(treasury, salt)
        if forwarder.codesize == 0:
            assert create_minimal_proxy_to(FORWARDER, salt=self._salt(treasury, salt)) == forwarder
        amount: uint256 = extcall Forwarder(forwarder).forward(token, treasury)
        if amount > 0:
            # The coin leaves no trace of its own: balances are held against this.
            log Swept(forwarder=forwarder, token=token, amount=amount)
