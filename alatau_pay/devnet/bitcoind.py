"""A regtest bitcoind with two wallets: the operator's treasury and the resident's."""

import http.client
import re
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

from bitcoin.rpc import JSONRPCError, RawProxy

from alatau_pay.devnet.processes import free_port, running
from alatau_pay.devnet.tools import bitcoind_command

CAIP2: Final = "bip122:0f9188f13cb7b2c71f2a335e3a4fc328"


@dataclass(frozen=True, slots=True)
class BitcoinDevnet:
    """A running node; ``account_key`` is the treasury wallet's BIP-84 tpub."""

    rpc_url: str
    zmq_url: str
    account_key: str

    def call(self, method: str, *params: object, wallet: str = "") -> Any:  # noqa: ANN401 -- JSON
        """Call the node, or one of its wallets, on a connection of its own."""
        return _call(self.rpc_url, method, *params, wallet=wallet)

    def mine(self, blocks: int) -> list[str]:
        """Mine blocks to the resident; returns their hashes."""
        address = self.call("getnewaddress", wallet="resident")
        return list(self.call("generatetoaddress", blocks, address))

    def pay(self, *, address: str, value_sat: int) -> str:
        """Pay from the resident's wallet; returns the txid."""
        amount = str(Decimal(value_sat).scaleb(-8))
        return str(self.call("sendtoaddress", address, amount, wallet="resident"))

    def take_back(self, txid: str) -> str:
        """Replace an unconfirmed payment by one to its payer (BIP-125); returns the new txid."""
        home = self.call("getnewaddress", wallet="resident")
        outputs = [{home: "0.001"}]
        return str(self.call("bumpfee", txid, {"outputs": outputs}, wallet="resident")["txid"])


@contextmanager
def start_bitcoind(folder: Path) -> Iterator[BitcoinDevnet]:
    """Start a node with 101 blocks and a funded resident; stop it on leaving.

    Raises ToolMissingError, NodeDidNotStartError.
    """
    folder.mkdir(parents=True, exist_ok=True)
    rpc_port, zmq_port, password = free_port(), free_port(), secrets.token_hex(16)
    zmq_url = f"tcp://127.0.0.1:{zmq_port}"
    url = f"http://devnet:{password}@127.0.0.1:{rpc_port}"
    options = ["-regtest", f"-datadir={folder}", "-server", "-listen=0", "-fallbackfee=0.0001"]
    options += [f"-rpcport={rpc_port}", "-rpcuser=devnet", f"-rpcpassword={password}"]
    options += [f"-zmqpubhashblock={zmq_url}", f"-zmqpubhashtx={zmq_url}", "-dbcache=32"]
    options += ["-rpcworkqueue=128", "-rpcthreads=8", "-printtoconsole=1", "-debuglogfile=0"]

    def answers() -> bool:
        try:
            _call(url, "getblockcount")
        except (OSError, http.client.HTTPException, ValueError, JSONRPCError):
            return False
        return True

    command = [*bitcoind_command(), *options]
    with running(command, folder=folder, name="bitcoind", answers=answers):
        for wallet in ("treasury", "resident"):
            _call(url, "createwallet", wallet)
        node = BitcoinDevnet(rpc_url=url, zmq_url=zmq_url, account_key=_account_key(url))
        node.mine(101)
        yield node


def _account_key(url: str) -> str:
    for one in _call(url, "listdescriptors", wallet="treasury")["descriptors"]:
        match = re.match(r"wpkh\(\[[0-9a-f]+/84[h']/1[h']/0[h']\](tpub\w+)/0/\*\)", one["desc"])
        if match:
            return match[1]
    raise ValueError("bitcoind's wallet has no BIP-84 account")


def _call(url: str, method: str, *params: object, wallet: str = "") -> Any:  # noqa: ANN401 -- JSON
    proxy = RawProxy(service_url=f"{url}/wallet/{wallet}" if wallet else url, timeout=60)
    try:
        return getattr(proxy, method)(*params)
    finally:
        proxy.close()
