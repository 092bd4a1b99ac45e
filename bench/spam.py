"""What a flood of small payments to one invoice costs, batch by batch.

``python -m bench.spam [payments] [value]`` stores final transfers of ``value`` base units of USDT
(1 is dust, 22 is worth a tiyn) as a scan would have, applies them in batches of 500 and prints the
seconds of each.
"""

import os
import sys
import tempfile
import time
from datetime import timedelta
from pathlib import Path

import django

from alatau_pay.devnet.nodes import start_devnet
from alatau_pay.engines import start_engines

BATCH = 500


def main() -> None:
    payments = int(sys.argv[1]) if len(sys.argv) > 1 else 3_000
    value = int(sys.argv[2]) if len(sys.argv) > 2 else 1
    with (
        tempfile.TemporaryDirectory(prefix="bench-") as folder,
        start_engines(Path(folder) / "e") as engines,
        start_devnet(Path(folder) / "n") as devnet,
    ):
        devnet.write_networks_file(Path(folder) / "networks.json")
        os.environ |= {
            "DEVNET": "1",
            "DATABASE_URL": engines.database_url,
            "REDIS_URL": engines.redis_url,
            "NETWORKS_FILE": str(Path(folder) / "networks.json"),
            "FIXED_RATES": "BTC=45000000,ETH=1500000,USDT=475,USDC=475",
            "DJANGO_SETTINGS_MODULE": "alatau_pay.settings",
        }
        django.setup()
        measure(payments, value)


def measure(payments: int, value: int) -> None:
    from django.core.management import call_command
    from django.db import connection

    from alatau_pay.devnet import anvil
    from alatau_pay.devnet.demo import approved_shop, asset_named
    from chains.models import Address, Block, Cursor, Transfer
    from merchants.invoices import choose_option, issue_invoice
    from merchants.models import OutboxEvent
    from merchants.settling import apply_transfers

    call_command("migrate", verbosity=0)
    invoice = issue_invoice(shop_id=approved_shop().pk, amount_tiyn=450_000)
    option = choose_option(invoice=invoice, asset=asset_named("USDT"))
    seen_at = invoice.expires_at - timedelta(seconds=1)
    block = Block.objects.create(
        network=anvil.CAIP2, height=1, hash="1", parent_hash="0", time=seen_at
    )
    cursor = Cursor.objects.create(network=anvil.CAIP2, height=1, hash="1")
    address = Address.objects.get(text=option.address)
    for first in range(0, payments, BATCH):
        rows = [
            Transfer(
                network=anvil.CAIP2,
                asset=option.asset,
                address=address,
                txid=f"{number:064x}",
                position="log:0",
                value=value,
                state="final",
                block=block,
                revision=number + 1,
                first_seen_at=seen_at,
            )
            for number in range(first, min(first + BATCH, payments))
        ]
        Transfer.objects.bulk_create(rows)
        cursor.revision = rows[-1].revision
        cursor.save()
        started = time.monotonic()
        apply_transfers(network=anvil.CAIP2, limit=BATCH)
        print(f"{rows[-1].revision:6} payments: {time.monotonic() - started:6.2f} s")
    print(f"events: {OutboxEvent.objects.count()}")
    connection.close()


if __name__ == "__main__":
    main()
