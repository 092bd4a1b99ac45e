"""``make demo``: watch two residents pay a shop, then read the ledger.

``ONCE=1`` ends after the trial balance, with status 0 if it sums to zero.
"""

import os
import signal
import sys
import time
from datetime import timedelta
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

from alatau_pay.devnet.supervisor import ENDING, supervised
from alatau_pay.workers import WORKERS

if TYPE_CHECKING:
    from alatau_pay.devnet.city import City
    from merchants.models import Invoice, Shop

PAY_WITHIN_S = 30.0
PORT = 8000
COMMAND = ".venv/bin/python manage.py"


def say(text: str, *, since: float) -> None:
    """Print one line with the seconds since the demo began."""
    print(f"{time.monotonic() - since:7.1f} s  {text}", flush=True)


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    # Once is enough: a second Ctrl-C must not interrupt the clearing up.
    for stop in ENDING:
        signal.signal(stop, signal.SIG_IGN)
    print("\nStopping …", flush=True)
    raise KeyboardInterrupt


def main() -> int:
    """Run the demo; returns the exit status."""
    if os.environ.get("ONCE", "") not in {"", "0", "1"}:
        print(f"ONCE must be 1 or 0, not {os.environ['ONCE']!r}.", file=sys.stderr)
        return 1
    return supervised(demo_in)


def demo_in(folder: Path) -> int:
    """Bring up a city in ``folder`` and show it; returns the exit status."""
    # SIGINT too: whoever starts us in the background with nohup has it ignored.
    for stop in ENDING:
        signal.signal(stop, _interrupt)
    try:
        return show(folder, since=time.monotonic())
    except KeyboardInterrupt:
        print("Stopped; nothing is left running.")
        return 0


def show(folder: Path, *, since: float) -> int:
    """Bring up a city in ``folder`` and run the demo in it; returns the exit status."""
    say("Starting PostgreSQL, Redis, bitcoind, anvil, web, workers …", since=since)
    say("(the first time, a Bitcoin and an EVM node are fetched: about a minute)", since=since)
    # Here, not above: Ctrl-C is already listened to while these load.
    from alatau_pay.devnet.city import CityDidNotStartError, city_in
    from alatau_pay.devnet.processes import NodeDidNotStartError
    from alatau_pay.devnet.tools import ToolMissingError
    from alatau_pay.engines import EngineError

    try:
        with city_in(folder, port=PORT) as city:
            return run(city, since=since)
    except (CityDidNotStartError, EngineError, NodeDidNotStartError, ToolMissingError) as error:
        print(f"\n{error}", file=sys.stderr)
        return 1


def run(city: "City", *, since: float) -> int:
    """Issue three invoices, pay two, print the trial balance; serve until Ctrl-C unless ONCE."""
    os.environ.update(city.environment)
    import django

    django.setup()
    from merchants.invoices import choose_option, issue_invoice, uri_of
    from settlement.ledger import trial_balance
    from settlement.reports import render_trial_balance

    say(f"The city is up: {city.public_url}", since=since)
    if not city.public_url.endswith(f":{PORT}"):
        say(f"  (another program has port {PORT})", since=since)
    shop = approved_shop()
    say(f"Approved shop: {shop.name}", since=since)
    with_bitcoin, with_usdt, left_open = (
        issue_invoice(
            shop_id=shop.id, amount_tiyn=amount, description=what, expires_in=timedelta(hours=1)
        )
        for amount, what in ((450_000, "Бауырсақ, шай"), (1_250_000, "Қымыз, 5 л"), (99_000, "Нан"))
    )
    for invoice, symbol in ((with_bitcoin, "BTC"), (with_usdt, "USDT")):
        option = choose_option(invoice=invoice, asset=asset_named(symbol))
        say(f"Invoice {invoice.token}: {invoice.amount_tiyn // 100} ₸ in {symbol}", since=since)
        txid = city.devnet.resident.pay(uri_of(option, quantity=int(option.quantity)))
        say(f"  resident's wallet broadcast {txid}", since=since)
        if not follow(invoice, city, since=since):
            return 1
    print()
    balance = trial_balance()
    print(render_trial_balance(balance))
    if os.environ.get("ONCE") == "1":
        return 0 if balance.difference_tiyn == 0 else 1
    print(f"\nOne invoice is open; pay it yourself:\n\n    {city.public_url}/i/{left_open.token}\n")
    print("See it as its operator does, from another terminal in the same folder:\n")
    print(f"    . {city.write_settings()}\n    {COMMAND} networks")
    print("    (also alerts, scan, rescan, wallet, sweep, quarantine, trial_balance)\n")
    print("Serving; a block every 3 s. Ctrl-C ends it all.", flush=True)
    serve(city, left_open, since=since)
    return 0


def serve(city: "City", invoice: "Invoice", *, since: float) -> None:
    """Mine until interrupted, say what happens to the open invoice, and keep one open."""
    from alatau_pay.devnet.city import Miner
    from merchants.invoices import issue_invoice

    miner = Miner(city.devnet, every_s=3.0)
    miner.start()
    status = str(invoice.status)
    try:
        while True:
            time.sleep(0.5)
            invoice.refresh_from_db()
            if invoice.status == status:
                continue
            status = str(invoice.status)
            say(f"  invoice {invoice.token} is {status}", since=since)
            if status in {"settled", "expired"}:
                invoice = issue_invoice(
                    shop_id=invoice.shop_id,
                    amount_tiyn=invoice.amount_tiyn,
                    description=invoice.description,
                    expires_in=timedelta(hours=1),
                )
                status = str(invoice.status)
                say(f"  another one is open: {city.public_url}/i/{invoice.token}", since=since)
    finally:
        miner.stopped.set()
        miner.join()


def approved_shop() -> "Shop":
    """Create the demo's shop, approved."""
    from merchants.models import Merchant, Shop

    merchant = Merchant.objects.create(
        legal_name="ЖШС «Дүкен»", bin_or_iin="250140000409", iban="KZ41722C000000000001"
    )
    return Shop.objects.create(merchant=merchant, name="Дүкен", status=Shop.Status.APPROVED)


def asset_named(symbol: str) -> str:
    """The CAIP-19 id of the devnet's asset with a symbol."""
    from chains.networks import registry

    return next(one.caip19 for one in registry().assets.values() if one.symbol == symbol)


def follow(invoice: "Invoice", city: "City", *, since: float) -> bool:
    """Mine until the invoice is settled, saying each change; False after PAY_WITHIN_S without."""
    status, deadline = "", time.monotonic() + PAY_WITHIN_S
    mined_at = time.monotonic()
    while time.monotonic() < deadline:
        invoice.refresh_from_db()
        if invoice.status != status:
            status = invoice.status
            say(f"  invoice is {status}", since=since)
        if status == "settled":
            return True
        if status == "processing" and time.monotonic() - mined_at > 1:
            city.devnet.bitcoin.mine(1)
            city.devnet.evm.mine(1)
            mined_at = time.monotonic()
            say("  a block was mined on both networks", since=since)
        time.sleep(0.05)
    print(f"The invoice did not settle within {PAY_WITHIN_S:.0f} s.", file=sys.stderr)
    for worker in WORKERS:
        print(f"The end of {worker}.log:\n{city.log_of(worker)}", file=sys.stderr)
    return False


if __name__ == "__main__":
    sys.exit(main())
