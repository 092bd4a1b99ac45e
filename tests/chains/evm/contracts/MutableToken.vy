# pragma version 0.4.3
"""
@title A token whose owner may change what it says (tests only)
"""

event Transfer:
    sender: indexed(address)
    receiver: indexed(address)
    value: uint256

decimals: public(uint8)
balanceOf: public(HashMap[address, uint256])

@deploy
def __init__(supply: uint256):
    self.decimals = 6
    self.balanceOf[msg.sender] = supply

@external
def set_decimals(decimals: uint8):
    self.decimals = decimals

@external
def transfer(to: address, amount: uint256) -> bool:
    self.balanceOf[msg.sender] -= amount
    self.balanceOf[to] += amount
    log Transfer(sender=msg.sender, receiver=to, value=amount)
    return True
