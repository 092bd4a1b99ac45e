# pragma version 0.4.3
"""
@title A contract wallet, an exchange's batch and worse (tests only)
"""

interface Token:
    def transfer(to: address, amount: uint256) -> bool: nonpayable

@external
@payable
def __default__():
    pass

@external
@payable
def pay(to: address, amount: uint256):
    """
    @notice Pass on a part of what came
    """
    raw_call(to, b"", value=amount)

@external
@payable
def pay_many(receivers: DynArray[address, 50], amounts: DynArray[uint256, 50]):
    """
    @notice An exchange's batch: one call frame for each receiver
    """
    for index: uint256 in range(len(receivers), bound=50):
        raw_call(receivers[index], b"", value=amounts[index])

@external
@payable
def pay_and_revert(to: address, amount: uint256):
    raw_call(to, b"", value=amount)
    raise "out of luck"

@external
@payable
def pay_in_vain(to: address, amount: uint256):
    """
    @notice Pay inside a call that fails, and succeed all the same (R48)
    """
    data: Bytes[100] = abi_encode(to, amount, method_id=method_id("pay_and_revert(address,uint256)"))
    success: bool = raw_call(self, data, value=amount, revert_on_failure=False)
    assert not success

@external
@payable
def pay_deep(to: address, amount: uint256, depth: uint256):
    """
    @notice Pay from a call inside a call inside a call
    """
    if depth == 0:
        raw_call(to, b"", value=amount)
    else:
        extcall Wallet(self).pay_deep(to, amount, depth - 1, value=amount)

interface Wallet:
    def pay_deep(to: address, amount: uint256, depth: uint256): payable

@external
def pay_tokens(token: address, receivers: DynArray[address, 50], amounts: DynArray[uint256, 50]):
    """
    @notice A batch of token payments
    """
    for index: uint256 in range(len(receivers), bound=50):
        assert extcall Token(token).transfer(
            receivers[index], amounts[index], default_return_value=True
        )

@external
def pay_tokens_and_revert(token: address, to: address, amount: uint256):
    assert extcall Token(token).transfer(to, amount, default_return_value=True)
    raise "out of luck"

@external
def pay_tokens_in_vain(token: address, to: address, amount: uint256):
    """
    @notice Pay tokens inside a call that fails, and succeed all the same (R48)
    """
    data: Bytes[200] = abi_encode(
        token, to, amount, method_id=method_id("pay_tokens_and_revert(address,address,uint256)")
    )
    success: bool = raw_call(self, data, revert_on_failure=False)
    assert not success

@external
@payable
def destroy(to: address):
    """
    @notice Send everything by destroying the contract: no code of the receiver runs (R58)
    """
    selfdestruct(to)
