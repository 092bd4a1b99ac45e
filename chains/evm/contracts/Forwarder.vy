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

@internal
@view
def _held(token: address) -> uint256:
    if token == empty(address):
        return self.balance
    return staticcall Token(token).balanceOf(self)

@external
def forward(token: address, treasury: address) -> uint256:
    """
    @notice Send everything of one token, or of the chain's own coin, to the treasury
    @return What left: less than was held where the token says yes and moves less
    """
    assert msg.sender == FACTORY, "only the factory"
    held: uint256 = self._held(token)
    if held == 0:
        return 0
    if token == empty(address):
        send(treasury, held, gas=100_000)
    else:
        # USDT returns nothing from transfer.
        assert extcall Token(token).transfer(treasury, held, default_return_value=True)
    return held - min(held, self._held(token))
