# pragma version 0.4.3
"""
@title Something that several own, as a Safe says it (tests only)
"""

OWNER: immutable(address)

@deploy
def __init__(owner: address):
    OWNER = owner

@external
@view
def getOwners() -> DynArray[address, 3]:
    return [self, OWNER]
