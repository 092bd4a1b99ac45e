# pragma version 0.4.3
"""
@title A payer whose trace repeats one great input with every call (tests only)
"""

@external
@payable
def __default__():
    pass

@external
@payable
def pay(to: address, amount: uint256, calls: uint256, blank: Bytes[65536]):
    """
    @notice Pass on a part of what came, then send a blank to nobody again and again
    """
    raw_call(to, b"", value=amount)
    for _: uint256 in range(calls, bound=100):
        raw_call(empty(address), blank)
