# pragma version 0.4.3
"""
@title A token that calls back into whoever moves it (tests only)
"""

interface Factory:
    def sweep(treasury: address, token: address, salts: DynArray[bytes32, 200]): nonpayable
interface Forwarder:
    def forward(token: address, treasury: address): nonpayable

THIEF: immutable(address)
FACTORY: immutable(address)
USDT: immutable(address)
FORWARDER: immutable(address)
SALT: immutable(bytes32)
TREASURY: immutable(address)
calls: public(uint256)
refused: public(uint256)

@deploy
def __init__(
    thief: address,
    factory: address,
    usdt: address,
    forwarder: address,
    salt: bytes32,
    treasury: address,
):
    THIEF = thief
    FACTORY = factory
    USDT = usdt
    FORWARDER = forwarder
    SALT = salt
    TREASURY = treasury

@external
@view
def balanceOf(owner: address) -> uint256:
    return 1

@external
def transfer(to: address, amount: uint256) -> bool:
    # msg.sender is a forwarder that the factory is just sweeping.
    self.calls += 1
    if self.calls > 1:
        return True
    tries: DynArray[Bytes[512], 8] = []
    tries.append(abi_encode(USDT, THIEF, method_id=method_id("forward(address,address)")))
    tries.append(
        abi_encode(empty(address), THIEF, method_id=method_id("forward(address,address)"))
    )
    ok: bool = False
    answer: Bytes[32] = b""
    for data: Bytes[512] in tries:
        ok, answer = raw_call(
            msg.sender, data, max_outsize=32, revert_on_failure=False
        )
        if not ok:
            self.refused += 1
        ok, answer = raw_call(FORWARDER, data, max_outsize=32, revert_on_failure=False)
        if not ok:
            self.refused += 1
    # The factory listens to anyone, also from inside a sweep.
    extcall Factory(FACTORY).sweep(THIEF, USDT, [SALT])
    extcall Factory(FACTORY).sweep(THIEF, empty(address), [SALT])
    extcall Factory(FACTORY).sweep(TREASURY, self, [SALT])
    return True
