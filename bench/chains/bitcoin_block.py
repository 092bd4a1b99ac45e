"""A full Bitcoin block scanned among 1,000 and among 10,000,000 issued addresses.

``python -m bench.chains.bitcoin_block [addresses ...]`` mines full blocks on a regtest node, fills
a database for each number of addresses, and prints a table. Every line comes from a process of its
own, so that its peak memory is its own. Ten million addresses need 8 GB of disk and some minutes.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg

from alatau_pay.devnet.bitcoind import BitcoinDevnet, start_bitcoind
from alatau_pay.engines import start_engines
from bench.chains.address_book import script_of
from bench.chains.block_ways import WAYS
from bench.chains.full_block import mine_full_blocks
from bench.chains.measuring import COLUMNS, RUNS
from chains.bitcoin.rpc import BitcoinRpc

BLOCKS, PAID = 3, 5
SHARED_BUFFERS = "2GB"


def main() -> None:
    sizes = [int(word) for word in sys.argv[1:]] or [1_000, 10_000_000]
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        folder = Path(name)
        with start_bitcoind(folder / "bitcoind") as node, _database_server(folder) as server:
            blocks = _mine(node, folder)
            print(f"{RUNS} runs each, over {BLOCKS} blocks; load {os.getloadavg()[0]:.1f}")
            print(f"{'':42}", *(f"{column:>10}" for column in COLUMNS))
            for way in WAYS:
                _report(way, _measured("bench.chains.block_ways", way, name))
            for size in sizes:
                found = _measured(
                    "bench.chains.block_scan",
                    DATABASE_URL=_filled(server, size),
                    NODE_URL=node.rpc_url,
                    BLOCKS=",".join(blocks),
                    PAID=str(PAID),
                )
                for step, figures in found.items():
                    _report(f"{step}, {size:,} addresses", figures)


@contextmanager
def _database_server(folder: Path) -> Iterator[str]:
    """An embedded PostgreSQL with the memory that a server for so many addresses would have."""
    with start_engines(folder, durable=False) as engines:
        _run_sql(engines.database_url, f"ALTER SYSTEM SET shared_buffers = '{SHARED_BUFFERS}'")
    with start_engines(folder, durable=False) as engines:
        os.environ["REDIS_URL"] = engines.redis_url
        yield engines.database_url


def _mine(node: BitcoinDevnet, folder: Path) -> list[str]:
    """Mine the full blocks, and keep what the node answers for the first of them."""
    paid = [[script_of(PAID * block + one) for one in range(PAID)] for block in range(BLOCKS)]
    blocks = mine_full_blocks(node, paid=paid)
    rpc = BitcoinRpc(url=node.rpc_url, name="regtest", timeout_s=60)
    seen = rpc.call("getblock", blocks[0], 1)
    print(f"{seen['weight']:,} weight, {seen['size']:,} bytes, {seen['nTx']:,} transactions")
    for verbosity in (0, 2):
        asked = {"id": 1, "method": "getblock", "params": [blocks[0], verbosity]}
        _status, body = rpc._post("getblock", json.dumps(asked).encode())  # noqa: SLF001
        (folder / f"block-{verbosity}.json").write_bytes(body)
    return blocks


def _filled(server: str, size: int) -> str:
    """A database of so many addresses; its URL."""
    name = f"addresses_{size}"
    _run_sql(server, f"CREATE DATABASE {name}")
    url = server.replace("/postgres?", f"/{name}?")
    began = time.monotonic()
    words = [sys.executable, "-m", "bench.chains.address_book", str(size)]
    subprocess.run(words, env=os.environ | {"DATABASE_URL": url}, check=True)
    print(f"({size:,} addresses were issued in {time.monotonic() - began:.0f} s)")
    return url


def _measured(module: str, *words: str, **environment: str) -> dict[str, Any]:
    command = [sys.executable, "-m", module, *words]
    done = subprocess.run(command, env=os.environ | environment, check=True, stdout=subprocess.PIPE)
    return dict(json.loads(done.stdout))


def _report(name: str, figures: dict[str, float]) -> None:
    print(f"{name:42}", *(f"{figures[column]:10.1f}" for column in COLUMNS), flush=True)


def _run_sql(url: str, statement: str) -> None:
    with psycopg.connect(url, autocommit=True) as server:
        server.execute(statement.encode())


if __name__ == "__main__":
    main()
