# pragma version 0.4.3
"""
@title Deposit forwarder
@notice The code behind every forwarder's proxy. It obeys only the factory that deployed it, which
        names the treasury that the proxy's address was computed from.
"""

interface Token:
    def balanceOf(owner: address) -> uint256: view
    def transfer(to: address, amount: uint256) -> bool: nonpayable

FACTORY: public(immutable(address))

@deploy
def __init__(factory: address):
    FACTORY = factory

@external
@payable
def __default__():
    pass

@external
def forward(token: address, treasury: address) -> uint256:
    """
    @notice Send everything of one token, or of the chain's own coin, to the treasury
    @return What was sent
    """
    assert msg.sender == FACTORY, "only the factory"
    amount: uint256 = 0
    if token == empty(address):
        amount = self.balance
        if amount > 0:
            send(treasury, amount, gas=100_000)
    else:
        amount = staticcall Token(token).balanceOf(self)
        if amount > 0:
            # USDT returns nothing from transfer.
            assert extcall Token(token).transfer(treasury, amount, default_return_value=True)
    return amount
