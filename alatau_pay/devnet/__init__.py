"""A Bitcoin node, an EVM node and a resident's wallet on one machine: for the demo and the tests."""
