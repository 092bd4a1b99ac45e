"""The scan of one full block among the addresses of DATABASE_URL, in a process of its own."""

import json
import os
from dataclasses import replace

import django

from bench.chains.address_book import NETWORK
from bench.chains.measuring import timed


def measure(*, url: str, hashes: list[str], paid: int) -> dict[str, dict[str, float]]:
    """The look-ups alone, then the whole of ``scan_network`` with the node's answer and the commit.

    Each block pays ``paid`` addresses.
    """
    from django.db import connection

    from chains import finding
    from chains.assets import Asset, Network, NetworkKind
    from chains.bitcoin.node import BitcoinNode
    from chains.models import AssetCursor, Block, Cursor, Inclusion, Spend, Transfer
    from chains.scanning import scan_network
    from chains.transfers import TransferState, changes_since

    coin = Asset(caip19=f"{NETWORK}/slip44:1", symbol="BTC", name="Bitcoin", decimals=8)
    network = Network(
        caip2=NETWORK,
        kind=NetworkKind.BITCOIN,
        name="Bitcoin",
        coin="BTC",
        endpoints=(url,),
        final_confirmations=6,
        block_time_s=600,
        start_height=0,
    )
    node = BitcoinNode(network=network, coin=coin, url=url)
    heights = [node._rpc.call("getblockheader", one)["height"] for one in hashes]  # noqa: SLF001
    newest = Spend.objects.order_by("-pk").values_list("pk", flat=True).first() or 0

    def scan(run: int) -> None:
        at = replace(network, start_height=heights[run % len(heights)])
        if scan_network(network=at, node=node, blocks_max=1).applied != 1:
            raise AssertionError("the block was not scanned")

    def check_and_forget() -> None:
        states = [one.state for one in changes_since(network=NETWORK, revision=0)]
        if states != [TransferState.INCLUDED] * paid:
            raise AssertionError(f"{len(states)} payments of {paid} were found")
        Spend.objects.filter(pk__gt=newest).delete()
        for model in (Inclusion, Transfer, Block, AssetCursor, Cursor):
            model.objects.all().delete()

    connection.ensure_connection()
    backend = [connection.connection.info.backend_pid]
    whole = timed(scan, cpu_of=backend, after=check_and_forget)
    contents = [next(node.read_blocks(height, height)) for height in heights]
    look_ups = timed(
        lambda run: finding.find_in(NETWORK, contents[run % len(contents)]), cpu_of=backend
    )
    return {"its two look-ups": look_ups, "whole scan": whole}


if __name__ == "__main__":
    os.environ |= {"DJANGO_SETTINGS_MODULE": "alatau_pay.settings", "DEVNET": "1"}
    django.setup()
    blocks = os.environ["BLOCKS"].split(",")
    print(
        json.dumps(measure(url=os.environ["NODE_URL"], hashes=blocks, paid=int(os.environ["PAID"])))
    )
