"""Both kinds of node and a resident's wallet on one machine: for the demo and the tests."""
