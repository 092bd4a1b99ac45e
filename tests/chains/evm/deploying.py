"""Contracts of the tests' own, compiled from their Vyper source, on the devnet's real node."""

from functools import cache
from pathlib import Path
from typing import Any, Final

from vyper import compile_code
from web3 import Web3
from web3.contract import Contract
from web3.contract.contract import ContractFunction
from web3.types import TxReceipt, Wei

from alatau_pay.devnet.anvil import EvmDevnet

CONTRACTS: Final = Path(__file__).with_name("contracts")


@cache
def compiled(name: str) -> dict[str, Any]:
    """ABI and creation bytecode of a contract by name."""
    source = (CONTRACTS / f"{name}.vy").read_text()
    return dict(compile_code(source, output_formats=["abi", "bytecode"]))


def deploy(evm: EvmDevnet, name: str, *arguments: object, value: int = 0) -> Contract:
    """Deploy a contract from the resident's account; its calls are sent from there too."""
    web3 = evm.web3()
    web3.eth.default_account = Web3.to_checksum_address(evm.resident)
    made = compiled(name)
    factory = web3.eth.contract(abi=made["abi"], bytecode=made["bytecode"])
    sent = factory.constructor(*arguments).transact({"value": value})
    at = web3.eth.wait_for_transaction_receipt(sent)["contractAddress"]
    return web3.eth.contract(at, abi=made["abi"])


def send(call: ContractFunction, *, value: int = 0, fails: bool = False) -> TxReceipt:
    """Send a call from the resident's account; its receipt, of the status that was expected.

    The gas is given, not estimated: a node refuses to estimate what fails.
    """
    sent = call.transact({"value": Wei(value), "gas": 2_000_000})
    receipt = call.w3.eth.wait_for_transaction_receipt(sent)
    assert receipt["status"] == (0 if fails else 1)
    return receipt
