"""Catch-up over EVM blocks full of transfers: ours against one ``eth_getLogs`` for each token.

``python -m bench.chains.evm [blocks] [transfers]`` mines blocks on a real node, each with so many
token transfers and a third as many in the coin, and walks them three ways: as the scanner does;
with a header, one ``eth_getLogs`` for each token and a trace for each block; and with the whole
block and all its receipts. Each finds the same payments to the same addresses, or the bench fails.
"""

import json
import resource
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, Final

import requests
from eth_utils.address import to_canonical_address

from alatau_pay.devnet import anvil
from alatau_pay.devnet.anvil import EvmDevnet
from bench.chains.sweep import bare_city

TRANSFER: Final = "0xddf252ad1be2c89b69c2b068fc378daa952ba7f163c4a11628f55a4df523b3ef"
BATCH: Final = 200
OURS_EVERY: Final = 50
"""One transfer in so many pays an address of ours."""
ADDRESSES: Final = 1_000
TRACED_MAX: Final = 30

Found = set[tuple[str, str, int]]
"""txid, payee and value."""
Way = Callable[[EvmDevnet, str, int, int, set[bytes]], Found]


class Plain:
    """JSON-RPC by hand, for the ways that are compared with."""

    def __init__(self, url: str) -> None:
        self._url, self._session = url, requests.Session()

    def call(self, method: str, *params: object) -> Any:  # noqa: ANN401 -- JSON
        """The result of one question."""
        body = {"jsonrpc": "2.0", "id": 1, "method": method, "params": list(params)}
        return self._session.post(self._url, json=body, timeout=60).json()["result"]

    def send(self, transactions: Sequence[dict[str, str]]) -> None:
        """Send transactions of the node's own accounts; raises RuntimeError."""
        for start in range(0, len(transactions), BATCH):
            body = [
                {"jsonrpc": "2.0", "id": number, "method": "eth_sendTransaction", "params": [one]}
                for number, one in enumerate(transactions[start : start + BATCH])
            ]
            answers = self._session.post(self._url, json=body, timeout=120).json()
            refused = [one["error"] for one in answers if "error" in one]
            if refused:
                raise RuntimeError(json.dumps(refused[0]))


def fill(evm: EvmDevnet, ours: Sequence[str], *, blocks: int, transfers: int) -> None:
    """Mine blocks full of transfers, most of them to strangers."""
    node = Plain(evm.url)
    node.call("evm_setAutomine", False)
    node.call("evm_setBlockGasLimit", hex(200_000_000))
    number = 0
    nonce = int(node.call("eth_getTransactionCount", evm.resident, "latest"), 16)
    for _block in range(blocks):
        sent = []
        for _ in range(transfers + transfers // 3):
            number += 1
            to = f"0x{number:040x}"
            if number % OURS_EVERY == 0:
                to = ours[number % len(ours)]
            # The node takes a batch's questions side by side.
            fees = {"gas": hex(100_000), "gasPrice": hex(10**11), "nonce": hex(nonce + number - 1)}
            if number % 4 == 0:
                sent.append({"from": evm.resident, "to": to, "value": hex(number)} | fees)
            else:
                token = (evm.usdt, evm.usdc)[number % 2]
                data = "0xa9059cbb" + to[2:].rjust(64, "0").lower() + f"{number:064x}"
                sent.append({"from": evm.resident, "to": token, "data": data} | fees)
        node.send(sent)
        node.call("anvil_mine", "0x1")
    node.call("evm_setAutomine", True)


def by_scanner(evm: EvmDevnet, native: str, first: int, last: int, ours: set[bytes]) -> Found:
    """The scanner's own reading, without its database."""
    from chains.assets import NativeMode
    from chains.networks import node_for, registry

    network = replace(registry().networks[anvil.CAIP2], native=NativeMode(native))
    found: Found = set()
    for block in node_for(network).read_blocks(first, last):
        for one in block.outputs_to(ours & block.scripts):
            found.add((one.txid, one.script.hex(), one.value))
    return found


def by_token(evm: EvmDevnet, native: str, first: int, last: int, ours: set[bytes]) -> Found:
    """A header, one ``eth_getLogs`` for each token, and a trace: block by block."""
    node, found = Plain(evm.url), set()
    for height in range(first, last + 1):
        block = node.call("eth_getBlockByNumber", hex(height), native == "calls")
        for token in (evm.usdt, evm.usdc):
            query = {"address": token, "topics": [TRANSFER], "blockHash": block["hash"]}
            for log in node.call("eth_getLogs", query):
                to = bytes.fromhex(log["topics"][2][26:])
                if to in ours:
                    node.call("eth_getTransactionReceipt", log["transactionHash"])
                    found.add((log["transactionHash"][2:], to.hex(), int(log["data"], 16)))
        if native == "traces":
            traces = node.call("debug_traceBlockByHash", block["hash"], {"tracer": "callTracer"})
            carried = [(one["txHash"], one["result"]) for one in traces]
        else:
            carried = [(one["hash"], one) for one in block["transactions"]]
        found |= _carried(carried, ours)
    return found


def by_receipts(evm: EvmDevnet, native: str, first: int, last: int, ours: set[bytes]) -> Found:
    """The whole block, all its receipts, and a trace: block by block."""
    node, found = Plain(evm.url), set()
    listed = {evm.usdt.lower(), evm.usdc.lower()}
    for height in range(first, last + 1):
        block = node.call("eth_getBlockByNumber", hex(height), True)
        for receipt in node.call("eth_getBlockReceipts", block["hash"]):
            for log in receipt["logs"]:
                to = bytes.fromhex(log["topics"][2][26:]) if len(log["topics"]) == 3 else b""
                if log["address"].lower() in listed and to in ours:
                    found.add((receipt["transactionHash"][2:], to.hex(), int(log["data"], 16)))
        if native == "traces":
            traces = node.call("debug_traceBlockByHash", block["hash"], {"tracer": "callTracer"})
            carried = [(one["txHash"], one["result"]) for one in traces]
        else:
            carried = [(one["hash"], one) for one in block["transactions"]]
        found |= _carried(carried, ours)
    return found


def _carried(rows: Sequence[tuple[str, Any]], ours: set[bytes]) -> Found:
    return {
        (txid[2:], one["to"][2:].lower(), int(one["value"], 16))
        for txid, one in rows
        if one.get("to")
        and int(one.get("value") or "0x0", 16)
        and bytes.fromhex(one["to"][2:]) in ours
    }


def measure(name: str, blocks: int, read: Callable[[], object]) -> object:
    """Read once, and print the time."""
    began, worked = time.monotonic(), time.process_time()
    result = read()
    seconds, work_s = time.monotonic() - began, time.process_time() - worked
    print(
        f"{name:58}{blocks / seconds:>10.1f}{1000 * seconds / blocks:>12.1f}"
        f"{1000 * work_s / blocks:>12.1f}",
        flush=True,
    )
    return result


def scan_all(native: str, first: int, last: int) -> None:
    """The whole way, database included, from just before the blocks."""
    from chains.assets import NativeMode
    from chains.models import AssetCursor, Block, Cursor, Inclusion, Transfer
    from chains.networks import node_for, registry
    from chains.scanning import scan_network

    for model in (Inclusion, Transfer, Cursor, AssetCursor, Block):
        model.objects.all().delete()
    listed = registry().networks[anvil.CAIP2]
    network = replace(listed, start_height=first, native=NativeMode(native))
    report = scan_network(network=network, node=node_for(network), blocks_max=last - first + 1)
    if report.height != last:
        raise RuntimeError("The scan did not reach the tip.")


def compare(evm: EvmDevnet, native: str, *, blocks: int, transfers: int) -> None:
    """Fill blocks, walk them in every way, and print a table."""
    from chains.addresses import allocate_address
    from chains.networks import registry

    network = registry().networks[anvil.CAIP2]
    texts = [
        allocate_address(network=network, reference=str(number)).text for number in range(ADDRESSES)
    ]
    ours = {bytes(to_canonical_address(text)) for text in texts}
    first = evm.web3().eth.block_number + 1
    fill(evm, texts, blocks=blocks, transfers=transfers)
    last = evm.web3().eth.block_number
    print(
        f"\n{last - first + 1} blocks, each {transfers} token and {transfers // 3} coin transfers, "
        f"native {native!r}, {ADDRESSES} addresses\n"
        f"{'':58}{'blocks/s':>10}{'ms a block':>12}{'CPU ms':>12}"
    )
    ways = (
        ("ours", by_scanner),
        ("one eth_getLogs for each token, block by block", by_token),
        ("block and all receipts, block by block", by_receipts),
    )
    results = []
    for name, way in ways:

        def read(way: Way = way) -> Found:
            return way(evm, native, first, last, ours)

        results.append(measure(name, last - first + 1, read))
    if not results[0] or any(one != results[0] for one in results):
        raise RuntimeError("The ways found different payments.")
    measure("ours with the database", last - first + 1, lambda: scan_all(native, first, last))


def main() -> None:
    blocks = int(sys.argv[1]) if len(sys.argv) > 1 else 200
    transfers = int(sys.argv[2]) if len(sys.argv) > 2 else 300
    with bare_city() as evm:
        compare(evm, "calls", blocks=blocks, transfers=transfers)
        # The devnet's node runs a block anew for each transaction that it traces.
        compare(evm, "traces", blocks=blocks, transfers=min(transfers, TRACED_MAX))
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"\npeak memory of this process: {peak_mb:.0f} MB")


if __name__ == "__main__":
    main()
