# pragma version 0.4.3
"""
@title The shape of an ERC-4337 bundle: a bundler calls, accounts pay (tests only)
"""

@external
@payable
def handle_ops(accounts: DynArray[address, 10], calls: DynArray[Bytes[300], 10]):
    """
    @notice Let each account do its call; one that fails stops no other
    """
    for index: uint256 in range(len(accounts), bound=10):
        success: bool = raw_call(accounts[index], calls[index], revert_on_failure=False)
