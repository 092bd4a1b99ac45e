# pragma version 0.4.3
"""
@title Deploys what it is given, at salts of its caller's choice (tests only)
"""

@external
def deploy(code: Bytes[4096], salt: bytes32) -> address:
    return raw_create(code, salt=salt, revert_on_failure=False)

@external
def proxy(target: address, salt: bytes32) -> address:
    return create_minimal_proxy_to(target, salt=salt, revert_on_failure=False)
