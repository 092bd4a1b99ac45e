# pragma version 0.4.3
"""
@title A token whose balances change by themselves (tests only)
"""

event Transfer:
    sender: indexed(address)
    receiver: indexed(address)
    value: uint256

UNIT: constant(uint256) = 10_000

decimals: public(constant(uint8)) = 6
index_bp: public(uint256)
hides: public(bool)
shares: HashMap[address, uint256]

@deploy
def __init__(supply: uint256, hides: bool):
    self.index_bp = UNIT
    self.hides = hides
    self.shares[msg.sender] = supply

@external
def rebase(index_bp: uint256):
    """
    @notice Change what everybody holds, and log nothing
    """
    self.index_bp = index_bp

@external
@view
def sharesOf(account: address) -> uint256:
    """
    @notice Tell what it is, as Lido's does; or do not
    """
    assert not self.hides, "unknown"
    return self.shares[account]

@external
@view
def balanceOf(account: address) -> uint256:
    return self.shares[account] * self.index_bp // UNIT

@external
def transfer(to: address, amount: uint256) -> bool:
    part: uint256 = amount * UNIT // self.index_bp
    self.shares[msg.sender] -= part
    self.shares[to] += part
    log Transfer(sender=msg.sender, receiver=to, value=amount)
    return True
