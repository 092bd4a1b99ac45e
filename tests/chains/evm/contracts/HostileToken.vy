# pragma version 0.4.3
"""
@title A token that calls itself USDT and does as it likes (tests only)
@notice `balanceOf` is kept by `transfer` alone; everything else only says so.
"""

event Transfer:
    sender: indexed(address)
    receiver: indexed(address)
    value: uint256

event Upgraded:
    implementation: indexed(address)

event Pause:
    pass

event Unpause:
    pass

event AddedBlackList:
    user: address

event Blacklisted:
    account: indexed(address)

event UnBlacklisted:
    account: indexed(address)

decimals: public(constant(uint8)) = 6
symbol: public(constant(String[8])) = "USDT"
balanceOf: public(HashMap[address, uint256])
fee_bp: public(uint256)
tells_net: public(bool)

@deploy
def __init__(supply: uint256):
    self.balanceOf[msg.sender] = supply

@external
def take_fee(fee_bp: uint256, tells_net: bool):
    """
    @notice Keep a part of every transfer; tell of what arrives, or of what was sent (R51)
    """
    self.fee_bp = fee_bp
    self.tells_net = tells_net

@external
def transfer(to: address, amount: uint256) -> bool:
    fee: uint256 = amount * self.fee_bp // 10_000
    self.balanceOf[msg.sender] -= amount
    self.balanceOf[to] += amount - fee
    self.balanceOf[self] += fee
    if self.tells_net:
        log Transfer(sender=msg.sender, receiver=to, value=amount - fee)
        log Transfer(sender=msg.sender, receiver=self, value=fee)
    else:
        log Transfer(sender=msg.sender, receiver=to, value=amount)
    return True

@external
def refuse(to: address, amount: uint256) -> bool:
    """
    @notice Move nothing, log nothing, return False, and succeed (R47)
    """
    return False

@external
def claim(to: address, amount: uint256):
    """
    @notice Log a transfer that moves nothing
    """
    log Transfer(sender=msg.sender, receiver=to, value=amount)

@external
def claim_and_revert(to: address, amount: uint256):
    """
    @notice Log a transfer and take everything back
    """
    log Transfer(sender=msg.sender, receiver=to, value=amount)
    raise "changed my mind"

@external
def claim_oddly(to: address, amount: uint256):
    """
    @notice Logs that look like a transfer's and are none: an EIP-721 one, one without a value,
            one with too much data, one without topics beyond the first
    """
    topic: bytes32 = keccak256("Transfer(address,address,uint256)")
    sender: bytes32 = convert(msg.sender, bytes32)
    receiver: bytes32 = convert(to, bytes32)
    raw_log([topic, sender, receiver, convert(amount, bytes32)], b"")
    raw_log([topic, sender, receiver], b"")
    raw_log([topic, sender, receiver], abi_encode(amount, amount))
    raw_log([topic], abi_encode(msg.sender, to, amount))

@external
def upgrade(implementation: address):
    log Upgraded(implementation=implementation)

@external
def pause():
    log Pause()

@external
def unpause():
    log Unpause()

@external
def block_as_tether(user: address):
    log AddedBlackList(user=user)

@external
def block_as_circle(account: address):
    log Blacklisted(account=account)

@external
def unblock_as_circle(account: address):
    log UnBlacklisted(account=account)
