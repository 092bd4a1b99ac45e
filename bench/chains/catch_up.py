"""Blocks per second in catch-up on Bitcoin: fetched one by one, and side by side.

``python -m bench.chains.catch_up [small blocks] [full blocks]`` mines both on a regtest node, scans
them from nothing among 1,000 addresses, and prints blocks per second and the peak of memory.
"""

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import django

from alatau_pay.devnet.bitcoind import start_bitcoind
from alatau_pay.engines import start_engines
from bench.chains.address_book import NETWORK, script_of
from bench.chains.full_block import mine_full_blocks
from bench.chains.measuring import peak_mb

FETCHERS = (1, 2, 4, 8)
ADDRESSES = 1_000


def main() -> None:
    small, full = (int(word) for word in sys.argv[1:3] or ("600", "12"))
    with (
        tempfile.TemporaryDirectory(prefix="bench-") as name,
        start_engines(Path(name), durable=False) as engines,
        start_bitcoind(Path(name) / "bitcoind") as node,
    ):
        os.environ |= {
            "DATABASE_URL": engines.database_url,
            "REDIS_URL": engines.redis_url,
            "NODE_URL": node.rpc_url,
        }
        fill = [sys.executable, "-m", "bench.chains.address_book", str(ADDRESSES)]
        subprocess.run(fill, check=True)
        # The full ones first: a late regtest block earns too little to fill others with.
        mine_full_blocks(node, paid=[[script_of(number)] for number in range(full)])
        ends = {"full": (node.call("getblockcount"), full)}
        node.mine(small)
        ends["small"] = (node.call("getblockcount"), small)
        print(f"load {os.getloadavg()[0]:.1f}")
        print("blocks", "fetched at once", "blocks a second", "peak MB", sep=" | ")
        for kind, (last, count) in ends.items():
            for fetchers in FETCHERS:
                words = [sys.executable, "-m", "bench.chains.catch_up", "scan"]
                words += [str(fetchers), str(last), str(count)]
                done = subprocess.run(words, check=True, stdout=subprocess.PIPE)
                print(kind, fetchers, done.stdout.decode().strip(), sep=" | ", flush=True)


def scan(fetchers: int, last: int, count: int) -> None:
    """Scan the ``count`` blocks up to ``last``, three times; print the best of it."""
    import chains.bitcoin.node as nodes
    from chains.assets import Asset, Network, NetworkKind
    from chains.models import AssetCursor, Block, Cursor, Inclusion, Spend, Transfer
    from chains.scanning import scan_network

    nodes.FETCHERS = fetchers  # type: ignore[misc]
    coin = Asset(caip19=f"{NETWORK}/slip44:1", symbol="BTC", name="Bitcoin", decimals=8)
    network = Network(
        caip2=NETWORK,
        kind=NetworkKind.BITCOIN,
        name="Bitcoin",
        coin="BTC",
        endpoints=(os.environ["NODE_URL"],),
        final_confirmations=6,
        block_time_s=600,
        start_height=last - count + 1,
    )
    node = nodes.BitcoinNode(network=network, coin=coin, url=network.endpoints[0])
    rates = []
    for _ in range(3):
        for model in (Inclusion, Transfer, Spend, Block, Cursor, AssetCursor):
            model.objects.all().delete()
        began = time.perf_counter()
        report = scan_network(network=network, node=node, blocks_max=count)
        rates.append(report.applied / (time.perf_counter() - began))
        if report.applied != count:
            raise AssertionError(f"{report.applied} blocks of {count} were scanned")
    print(f"{max(rates):.1f} | {peak_mb():.0f}")


if __name__ == "__main__":
    if sys.argv[1:2] == ["scan"]:
        os.environ |= {"DJANGO_SETTINGS_MODULE": "alatau_pay.settings", "DEVNET": "1"}
        django.setup()
        scan(*(int(word) for word in sys.argv[2:]))
    else:
        main()
