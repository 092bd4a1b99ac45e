"""A local EVM node with the gateway's factory, a test USDT and a test USDC."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from operator import itemgetter
from pathlib import Path
from typing import Any, Final

import requests
from eth_account import Account
from eth_utils.address import to_checksum_address
from eth_utils.crypto import keccak
from rlp import encode as rlp_encode
from web3 import HTTPProvider, Web3
from web3.types import Wei

from alatau_pay.devnet.contracts import artefact
from alatau_pay.devnet.processes import free_port, running
from alatau_pay.devnet.tools import anvil_command

CHAIN_ID: Final = 31337
CAIP2: Final = f"eip155:{CHAIN_ID}"
SUPPLY: Final = 10**15
"""A thousand million tokens of six decimals, all the resident's."""
MNEMONIC: Final = "test test test test test test test test test test test junk"


@dataclass(frozen=True, slots=True)
class EvmDevnet:
    """A running node; the resident's account is funded with ether and both tokens."""

    url: str
    ws_url: str
    resident: str
    treasury: str
    factory: str
    forwarder: str
    usdt: str
    usdc: str

    @property
    def gas_payer_key(self) -> str:
        """The key of an account that has ether and is nobody else here: it may pay for sweeps."""
        Account.enable_unaudited_hdwallet_features()
        account = Account.from_mnemonic(MNEMONIC, account_path="m/44'/60'/0'/0/2")
        return str(account.key.to_0x_hex())

    def web3(self) -> Web3:
        """Connect anew."""
        return Web3(HTTPProvider(self.url, request_kwargs={"timeout": 30}))

    def rpc(self, method: str, *params: str) -> Any:  # noqa: ANN401 -- JSON
        """Call a method of anvil's own; raises RuntimeError with its error."""
        body: Any = {"jsonrpc": "2.0", "id": 1, "method": method, "params": list(params)}
        answer = requests.post(self.url, json=body, timeout=30).json()
        if "error" in answer:
            raise RuntimeError(str(answer["error"]))
        return answer.get("result")

    def mine(self, blocks: int) -> None:
        """Mine blocks now."""
        self.rpc("anvil_mine", hex(blocks))

    def pay(self, *, address: str, value: int, token: str | None = None) -> str:
        """Pay ether or a token from the resident's account; returns the transaction's hash.

        Where the node mines each transaction at once, that has happened on return.
        """
        web3 = self.web3()
        to = to_checksum_address(address)
        if token is None:
            sent = web3.eth.send_transaction({"from": self.resident, "to": to, "value": Wei(value)})
        else:
            contract = web3.eth.contract(to_checksum_address(token), abi=artefact("TestUSDT").abi)
            sent = contract.functions.transfer(to, value).transact({"from": self.resident})
        if self.rpc("anvil_getAutomine"):
            web3.eth.wait_for_transaction_receipt(sent, timeout=30, poll_latency=0.01)
        return bytes(sent).hex()


@contextmanager
def start_anvil(folder: Path) -> Iterator[EvmDevnet]:
    """Start a node, deploy the contracts, fund the resident; stop it on leaving.

    Raises ToolMissingError, NodeDidNotStartError.
    """
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    web3 = Web3(HTTPProvider(url, request_kwargs={"timeout": 30}))
    command = [*anvil_command(), "--host", "127.0.0.1", "--port", str(port), "--silent"]
    command += ["--slots-in-an-epoch", "1", "--chain-id", str(CHAIN_ID), "--mnemonic", MNEMONIC]
    with running(command, folder=folder, name="anvil", answers=web3.is_connected):
        operator, resident, treasury = itemgetter(0, 1, 9)(list(web3.eth.accounts))
        # The two name each other, so the factory's address is foretold from its deployer's nonce.
        nonce = web3.eth.get_transaction_count(operator)
        foretold = keccak(rlp_encode([bytes.fromhex(operator[2:]), nonce + 1]))[12:]
        forwarder = _deploy(web3, "Forwarder", operator, to_checksum_address(foretold))
        factory = _deploy(web3, "ForwarderFactory", operator, forwarder)
        yield EvmDevnet(
            url=url,
            ws_url=f"ws://127.0.0.1:{port}",
            resident=resident,
            treasury=treasury,
            factory=factory,
            forwarder=forwarder,
            usdt=_deploy(web3, "TestUSDT", resident, SUPPLY),
            usdc=_deploy(web3, "TestUSDC", resident, SUPPLY),
        )


def _deploy(web3: Web3, name: str, sender: str, *arguments: object) -> str:
    made = artefact(name)
    contract = web3.eth.contract(abi=made.abi, bytecode=made.bytecode)
    sent = contract.constructor(*arguments).transact({"from": to_checksum_address(sender)})
    return str(web3.eth.wait_for_transaction_receipt(sent)["contractAddress"])
