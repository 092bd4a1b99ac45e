"""The gateway's eyes on one real bitcoind, and transactions that no wallet would make."""

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal

import pytest
from bip32 import BIP32

from alatau_pay.devnet.bitcoind import CAIP2, BitcoinDevnet
from alatau_pay.devnet.nodes import Devnet
from chains.addresses import allocate_address
from chains.assets import Network
from chains.networks import node_for, registry
from chains.nodes import Node
from chains.scanning import ScanReport, scan_network
from chains.transfers import TransferFact, transfers_of

Outpoint = tuple[str, int]


@dataclass
class Gateway:
    """What a gateway on this network sees, over connections that live as long as a worker's."""

    network: Network
    node: Node

    def scan(self) -> ScanReport:
        return scan_network(network=self.network, node=self.node)

    def address(self, reference: str = "one") -> str:
        return allocate_address(network=self.network, reference=reference).text

    def transfers(self, *references: str) -> list[TransferFact]:
        """By reference in the order asked for, each one's oldest first."""
        asked = references or ("one",)
        return [fact for one in asked for fact in transfers_of(references=[one])]

    def states(self, *references: str) -> list[str]:
        return [str(one.state) for one in self.transfers(*references)]


def new_account_key() -> str:
    """A tpub that no test had before: what an earlier one was paid concerns no later one."""
    return str(BIP32.from_seed(secrets.token_bytes(32), "test").get_xpub_from_path("m/84h/1h/0h"))


def gateway_on(*nodes: BitcoinDevnet, account_key: str = "") -> Gateway:
    """A gateway that asks some nodes, from the present tip of the first."""
    network = replace(
        registry().networks[CAIP2],
        endpoints=tuple(node.rpc_url for node in nodes),
        start_height=nodes[0].call("getblockcount"),
        account_key=account_key or new_account_key(),
    )
    return Gateway(network=network, node=node_for(network))


@pytest.fixture
def bitcoin(networks: Devnet) -> BitcoinDevnet:
    """The node that all tests of this process share."""
    return networks.bitcoin


@pytest.fixture
def gateway(db: None, bitcoin: BitcoinDevnet) -> Gateway:
    """A gateway on that node that has caught up."""
    made = gateway_on(bitcoin)
    made.scan()
    return made


def btc(value_sat: int) -> str:
    """An amount as bitcoind wants it."""
    return f"{Decimal(value_sat).scaleb(-8):f}"


def unspent(node: BitcoinDevnet, value_sat_min: int = 1_000_000) -> Outpoint:
    """A confirmed coin of the resident that is worth something."""
    for one in node.call("listunspent", 1, wallet="resident"):
        if one["amount"] * 100_000_000 >= value_sat_min:
            return one["txid"], one["vout"]
    raise AssertionError("the resident is out of coins")


def value_of(node: BitcoinDevnet, coin: Outpoint) -> int:
    """What an output is worth, in satoshi, that no block has spent."""
    found = node.call("gettxout", *coin, False) or node.call("gettxout", *coin, True)
    return int(found["value"] * 100_000_000)


def signed(
    node: BitcoinDevnet,
    coins: Sequence[Outpoint],
    outputs_sat: Mapping[str, int],
    *,
    sequence: int = 0xFFFFFFFD,
    locktime: int = 0,
    fee_sat: int = 5_000,
) -> str:
    """A transaction of the resident from given coins to given outputs, the rest as change."""
    left = sum(value_of(node, coin) for coin in coins) - sum(outputs_sat.values()) - fee_sat
    home = node.call("getrawchangeaddress", wallet="resident")
    inputs = [{"txid": txid, "vout": vout, "sequence": sequence} for txid, vout in coins]
    outputs = [{address: btc(value)} for address, value in outputs_sat.items()]
    outputs += [{home: btc(left)}] if left > 1_000 else []
    raw = node.call("createrawtransaction", inputs, outputs, locktime)
    done = node.call("signrawtransactionwithwallet", raw, wallet="resident")
    assert done["complete"]
    return str(done["hex"])


def send(node: BitcoinDevnet, raw: str) -> str:
    """Broadcast; returns the txid."""
    return str(node.call("sendrawtransaction", raw, 0))


def txid_of(node: BitcoinDevnet, raw: str) -> str:
    return str(node.call("decoderawtransaction", raw)["txid"])


def mine_only(node: BitcoinDevnet, *transactions: str) -> str:
    """Mine a block of just these (txids of the mempool, or raw); returns its hash."""
    home = node.call("getnewaddress", wallet="resident")
    return str(node.call("generateblock", home, list(transactions))["hash"])
