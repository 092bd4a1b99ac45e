"""From broadcast to *detected*, and from the confirming block to the ledger entry.

``python -m bench.latency [payments]`` brings up a city and prints the medians per network.
"""

import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import django

from alatau_pay.devnet.city import City, city_in


def seconds_until(what: Callable[[], bool], since: float) -> float:
    while not what():
        if time.monotonic() - since > 30:
            raise TimeoutError("30 s passed")
        time.sleep(0.002)
    return time.monotonic() - since


def measure(city: City, payments: int) -> None:
    from alatau_pay.devnet.demo import approved_shop, asset_named
    from merchants.invoices import choose_option, issue_invoice, uri_of
    from merchants.models import Invoice
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
            this = Invoice.objects.filter(pk=invoice.pk)
            entries = JournalEntry.objects.filter(quote__in=invoice.options.values("quote"))
            city.devnet.resident.pay(uri)
            broadcast = time.monotonic()
            detected.append(seconds_until(this.filter(status="processing").exists, broadcast))
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
