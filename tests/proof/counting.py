"""What the final chain holds, counted from nothing: no code under test, other calls to nodes."""

from collections.abc import Collection
from typing import Any, Protocol

import requests

from alatau_pay.devnet.bitcoind import BitcoinDevnet

TRANSFER = "0xddf252ad1be2c89b69c2b068fc378daa952ba7f163c4a11628f55a4df523b3ef"

Found = dict[tuple[str, str], tuple[str, int]]
"""(txid, position) to (address, base units)."""


class HasUrl(Protocol):
    """Whatever answers JSON-RPC at a URL."""

    url: str


def bitcoin_outputs(node: BitcoinDevnet, addresses: Collection[str], *, since: int) -> Found:
    """Every output of the best chain above a height that pays one of ours, by bitcoind's JSON."""
    found: Found = {}
    for height in range(since + 1, node.call("getblockcount") + 1):
        block = node.call("getblock", node.call("getblockhash", height), 2)
        for tx in block["tx"]:
            for output in tx["vout"]:
                to = output["scriptPubKey"].get("address")
                if to in addresses:
                    value = int(output["value"] * 100_000_000)
                    found[tx["txid"], f"out:{output['n']}"] = (to, value)
    return found


def evm_outputs(
    node: HasUrl, addresses: Collection[str], *, since: int, tokens: Collection[str]
) -> Found:
    """Every token log and plain payment of the best chain above a height, by single receipts."""
    ours = {one.lower(): one for one in addresses}
    listed = {one.lower() for one in tokens}
    found: Found = {}
    for height in range(since + 1, int(ask(node, "eth_blockNumber"), 16) + 1):
        block = ask(node, "eth_getBlockByNumber", hex(height), True)
        for tx in block["transactions"]:
            receipt = ask(node, "eth_getTransactionReceipt", tx["hash"])
            if receipt["status"] != "0x1":
                continue
            txid = tx["hash"][2:]
            if (tx["to"] or "").lower() in ours and int(tx["value"], 16):
                found[txid, "call:"] = (ours[tx["to"].lower()], int(tx["value"], 16))
            for ordinal, entry in enumerate(receipt["logs"]):
                to = "0x" + entry["topics"][-1][-40:]
                if entry["address"].lower() in listed and entry["topics"][0] == TRANSFER:
                    value = int(entry["data"], 16)
                    if to in ours and value:
                        found[txid, f"log:{ordinal}"] = (ours[to], value)
    return found


def ask(node: HasUrl, method: str, *params: object) -> Any:  # noqa: ANN401 -- JSON
    """One question to the node, by plain HTTP."""
    body = {"jsonrpc": "2.0", "id": 1, "method": method, "params": list(params)}
    answer = requests.post(node.url, json=body, timeout=30).json()
    if "error" in answer:
        raise RuntimeError(f"{method}: {answer['error']}")
    return answer["result"]
