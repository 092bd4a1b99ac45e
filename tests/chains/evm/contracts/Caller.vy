# pragma version 0.4.3
"""
@title What a thief puts between himself and a forwarder (tests only)
"""

@external
@payable
def __default__():
    pass

@external
def call_through(target: address, data: Bytes[1024]):
    raw_call(target, data)

@external
def delegate(target: address, data: Bytes[1024]):
    raw_call(target, data, is_delegate_call=True)
