# pragma version 0.4.3
"""
@title Something with one owner (tests only)
"""

owner: public(address)

@deploy
def __init__(owner: address):
    self.owner = owner
