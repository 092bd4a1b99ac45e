"""A regtest bitcoind with two wallets: the operator's treasury and the resident's.

Several can stand side by side, be connected to each other and cut apart again.
"""

import http.client
import json
import re
import secrets
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

from bitcoin.rpc import JSONRPCError, RawProxy

from alatau_pay.devnet.processes import free_port, running
from alatau_pay.devnet.tools import bitcoind_command

CAIP2: Final = "bip122:0f9188f13cb7b2c71f2a335e3a4fc328"
WALLETS: Final = ("treasury", "resident")
WAIT_S_MAX: Final = 60.0


@dataclass(frozen=True, slots=True)
class BitcoinDevnet:
    """A running node; ``account_key`` is the treasury wallet's BIP-84 tpub.

    ``peer_address`` is where other nodes connect: host and port.
    """

    rpc_url: str
    zmq_url: str
    peer_address: str
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

    def connect_to(self, other: "BitcoinDevnet") -> None:
        """Connect to another node, and wait until both see each other. Raises TimeoutError."""
        if not self.connections_to(other):
            self.call("addnode", other.peer_address, "onetry")
        # A version of 0 says that the two have not greeted each other yet.
        _wait_until(lambda: any(one["version"] for one in self.connections_to(other)))

    def cut_from(self, other: "BitcoinDevnet") -> None:
        """End every connection to another node; neither side tries again. Raises TimeoutError."""
        for one, peer in ((self, other), (other, self)):
            for seen in one.connections_to(peer):
                one.call("disconnectnode", "", seen["id"])
        _wait_until(lambda: not self.connections_to(other) and not other.connections_to(self))

    def wait_for_tip_of(self, other: "BitcoinDevnet") -> None:
        """Wait until both nodes have the same best block. Raises TimeoutError."""
        _wait_until(lambda: self.call("getbestblockhash") == other.call("getbestblockhash"))

    def connections_to(self, other: "BitcoinDevnet") -> list[dict[str, Any]]:
        """The connections that this node opened to another."""
        peers = self.call("getpeerinfo")
        return [one for one in peers if one["addr"] == other.peer_address]


@contextmanager
def start_bitcoind(
    folder: Path, *, options: Sequence[str] = (), peers: Sequence[BitcoinDevnet] = ()
) -> Iterator[BitcoinDevnet]:
    """Start a node with 101 blocks and a funded resident; stop it on leaving.

    ``options`` are further arguments of bitcoind. With ``peers`` the node takes their chain and
    mines none of its own. A folder that held a node before gives the same one: chain, wallets,
    ports. Raises ToolMissingError, NodeDidNotStartError, TimeoutError.
    """
    folder.mkdir(parents=True, exist_ok=True)
    kept = _kept(folder)
    zmq_url, peer_address = (f"127.0.0.1:{kept[name]}" for name in ("zmq_port", "peer_port"))
    url = f"http://devnet:{kept['password']}@127.0.0.1:{kept['rpc_port']}"
    command = [*bitcoind_command(), "-regtest", f"-datadir={folder}", "-server"]
    command += [f"-bind={peer_address}", "-listen=1", "-listenonion=0", "-dnsseed=0"]
    command += ["-whitelist=noban,download@127.0.0.1", "-fallbackfee=0.0001", "-dbcache=32"]
    command += ["-keypool=100", f"-rpcport={kept['rpc_port']}", "-rpcuser=devnet"]
    command += [f"-rpcpassword={kept['password']}", "-rpcworkqueue=128", "-rpcthreads=8"]
    command += [f"-zmqpubhashblock=tcp://{zmq_url}", f"-zmqpubhashtx=tcp://{zmq_url}"]
    command += ["-printtoconsole=1", "-debuglogfile=0", *options]

    def answers() -> bool:
        try:
            _call(url, "getblockcount")
        except (OSError, http.client.HTTPException, ValueError, JSONRPCError):
            return False
        return True

    with running(command, folder=folder, name="bitcoind", answers=answers):
        known = {one["name"] for one in _call(url, "listwalletdir")["wallets"]}
        for wallet in WALLETS:
            _call(url, "loadwallet" if wallet in known else "createwallet", wallet)
        node = BitcoinDevnet(
            rpc_url=url,
            zmq_url=f"tcp://{zmq_url}",
            peer_address=peer_address,
            account_key=_account_key(url),
        )
        for peer in peers:
            node.connect_to(peer)
            node.wait_for_tip_of(peer)
        if not peers and node.call("getblockcount") == 0:
            node.mine(101)
        yield node


def _kept(folder: Path) -> dict[str, Any]:
    """The ports and the password that the folder's node had before, or new ones."""
    path = folder / "devnet.json"
    if not path.exists():
        ports = {name: free_port() for name in ("rpc_port", "zmq_port", "peer_port")}
        path.write_text(json.dumps(ports | {"password": secrets.token_hex(16)}))
    return dict(json.loads(path.read_text()))


def _account_key(url: str) -> str:
    for one in _call(url, "listdescriptors", wallet="treasury")["descriptors"]:
        match = re.match(r"wpkh\(\[[0-9a-f]+/84[h']/1[h']/0[h']\](tpub\w+)/0/\*\)", one["desc"])
        if match:
            return match[1]
    raise ValueError("bitcoind's wallet has no BIP-84 account")


def _wait_until(what: Callable[[], bool]) -> None:
    deadline = time.monotonic() + WAIT_S_MAX
    while not what():
        if time.monotonic() > deadline:
            raise TimeoutError("The nodes did not come to agree.")
        time.sleep(0.05)


def _call(url: str, method: str, *params: object, wallet: str = "") -> Any:  # noqa: ANN401 -- JSON
    proxy = RawProxy(service_url=f"{url}/wallet/{wallet}" if wallet else url, timeout=60)
    try:
        return getattr(proxy, method)(*params)
    finally:
        proxy.close()
