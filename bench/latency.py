"""From broadcast to *detected* on an open page, and from the confirming block to the ledger entry.

*Detected* is when the page's own event stream says so, read as a browser reads it.
``python -m bench.latency [payments]`` brings up a city and prints the medians per network.
"""

import json
import os
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

import django
import requests
from typing_extensions import override

from alatau_pay.devnet.city import City, city_in


def seconds_until(what: Callable[[], bool], since: float) -> float:
    while not what():
        if time.monotonic() - since > 30:
            raise TimeoutError("30 s passed")
        time.sleep(0.002)
    return time.monotonic() - since


class OpenPage(threading.Thread):
    """A page's event stream; ``detected`` is set when it says that a payment was seen."""

    def __init__(self, url: str) -> None:
        super().__init__(daemon=True)
        self.url, self.opened, self.detected = url, threading.Event(), threading.Event()

    @override
    def run(self) -> None:
        """Read until the payment is detected."""
        with requests.get(self.url, stream=True, timeout=60) as stream:
            for line in stream.iter_lines(chunk_size=1):
                if line.startswith(b"data: "):
                    self.opened.set()
                    if json.loads(line[6:])["stage"] == "detected":
                        self.detected.set()
                        return


def measure(city: City, payments: int) -> None:
    from alatau_pay.devnet.demo import approved_shop, asset_named
    from merchants.invoices import choose_option, issue_invoice, uri_of
    from settlement.models import JournalEntry

    shop = approved_shop()
    for symbol, node, confirmations in (
        ("BTC", city.devnet.bitcoin, 2),
        ("USDT", city.devnet.evm, 2),
    ):
        detected, booked = [], []
        for _ in range(payments):
            invoice = issue_invoice(shop_id=shop.id, amount_tiyn=100_000)
            option = choose_option(invoice=invoice, asset=asset_named(symbol))
            uri = uri_of(option, quantity=int(option.quantity))
            page = OpenPage(f"{city.environment['LIVE_URL']}/live/invoices/{invoice.token}")
            page.start()
            page.opened.wait(30)
            entries = JournalEntry.objects.filter(quote__in=invoice.options.values("quote"))
            city.devnet.resident.pay(uri)
            broadcast = time.monotonic()
            page.detected.wait(30)
            detected.append(time.monotonic() - broadcast)
            node.mine(confirmations - 1)
            time.sleep(0.5)
            node.mine(1)
            confirmed = time.monotonic()
            booked.append(seconds_until(entries.exists, confirmed))
        for name, values in (("broadcast -> detected", detected), ("block -> entry", booked)):
            print(
                f"{symbol:5} {name:24} median {statistics.median(values) * 1000:6.0f} ms  "
                f"min {min(values) * 1000:6.0f}  max {max(values) * 1000:6.0f}  n={payments}"
            )


def main() -> None:
    payments = int(sys.argv[1]) if len(sys.argv) > 1 else 20
    with tempfile.TemporaryDirectory(prefix="bench-") as folder, city_in(Path(folder)) as city:
        os.environ.update(city.environment)
        django.setup()
        measure(city, payments)


if __name__ == "__main__":
    main()
