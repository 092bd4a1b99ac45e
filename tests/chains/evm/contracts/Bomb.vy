# pragma version 0.4.3
"""
@title Forces its coins on an heir (tests only)
"""

@deploy
@payable
def __init__(heir: address):
    selfdestruct(heir)
