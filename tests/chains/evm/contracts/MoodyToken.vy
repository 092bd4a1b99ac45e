# pragma version 0.4.3
"""
@title A token that refuses whom it likes, in every way that tokens are known to (tests only)
"""

event Transfer:
    sender: indexed(address)
    receiver: indexed(address)
    value: uint256

flag Mood:
    BLOCKED
    SAYS_FALSE
    BURNS_GAS
    MOVES_NOTHING
    ANSWERS_RUBBISH

decimals: public(constant(uint8)) = 6
balanceOf: public(HashMap[address, uint256])
paused: public(bool)
moods: HashMap[address, Mood]
waste: HashMap[uint256, uint256]

@deploy
def __init__(supply: uint256):
    self.balanceOf[msg.sender] = supply

@external
def pause(paused: bool):
    self.paused = paused

@external
def set_mood(holder: address, mood: uint256):
    self.moods[holder] = convert(mood, Mood)

@external
@raw_return
def transfer(to: address, amount: uint256) -> Bytes[96]:
    mood: Mood = self.moods[msg.sender]
    assert not self.paused, "paused"
    assert mood != Mood.BLOCKED, "blocklisted"
    if mood == Mood.SAYS_FALSE:
        return abi_encode(False)
    if mood == Mood.BURNS_GAS:
        for index: uint256 in range(1_000_000):
            self.waste[index] = index + 1
    if mood == Mood.ANSWERS_RUBBISH:
        return abi_encode(convert(2, uint256))
    if mood != Mood.MOVES_NOTHING:
        self.balanceOf[msg.sender] -= amount
        self.balanceOf[to] += amount
        log Transfer(sender=msg.sender, receiver=to, value=amount)
    return abi_encode(True)
