"""What sweeping costs: gas for a fresh and a used forwarder, and how long a plan takes to make.

``python -m bench.chains.sweep [addresses] [transfers]`` starts the devnet and a database, pays and
sweeps so many addresses twice for each asset, and then plans with so many earlier final transfers
in the database.
"""

import os
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from decimal import Decimal
from pathlib import Path
from typing import Final
from uuid import uuid4

import django

from alatau_pay.devnet import anvil
from alatau_pay.devnet.anvil import EvmDevnet
from alatau_pay.devnet.nodes import start_devnet
from alatau_pay.engines import start_engines

DESIGN_GAS: Final = {"fresh": 54_351, "used": 13_193}
"""What the probe of the design measured for each of 100 forwarders with a token."""
PRICES: Final = {"ETH": Decimal(1_500_000), "USDT": Decimal(475), "USDC": Decimal(475)}
VALUE: Final = {"USDT": 100_000_000, "USDC": 100_000_000, "ETH": 10**17}


@contextmanager
def bare_city() -> Iterator[EvmDevnet]:
    """A database and the devnet's nodes, named in Django's settings."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-")))
        engines = stack.enter_context(start_engines(folder / "engines"))
        devnet = stack.enter_context(start_devnet(folder / "nodes"))
        devnet.write_networks_file(folder / "networks.json")
        os.environ |= {
            "DATABASE_URL": engines.database_url,
            "REDIS_URL": engines.redis_url,
            "NETWORKS_FILE": str(folder / "networks.json"),
            "DEVNET": "1",
            "DJANGO_SETTINGS_MODULE": "alatau_pay.settings",
        }
        django.setup()
        from django.core.management import call_command

        call_command("migrate", verbosity=0)
        yield devnet.evm


class Sweeper:
    """Pays, plans, sends and follows on the bare city."""

    def __init__(self, evm: EvmDevnet) -> None:
        from eth_account import Account

        from chains.evm.payer import GasPayer
        from chains.networks import node_for, registry

        account = Account.create()
        evm.rpc("anvil_setBalance", account.address, hex(10**19))
        self.evm, self.payer = evm, GasPayer(account)
        self.network = registry().networks[anvil.CAIP2]
        self.assets = registry().assets_on(anvil.CAIP2)
        self.nodes = node_for(self.network)

    def scan(self) -> None:
        """Bring the network to its tip."""
        from chains.scanning import scan_network

        while not scan_network(network=self.network, node=self.nodes).caught_up:
            pass

    def pay(self, symbol: str, addresses: int) -> None:
        """Pay addresses, a few hundred in a block, and let them become final."""
        from chains.addresses import allocate_address

        asset = next(one for one in self.assets if one.symbol == symbol)
        self.evm.rpc("evm_setAutomine", False)  # type: ignore[arg-type]
        for number in range(addresses):
            reference = f"{symbol} {number}"
            address = allocate_address(network=self.network, reference=reference).text
            self.evm.pay(address=address, value=VALUE[symbol], token=asset.contract)
            if number % 200 == 199:
                self.evm.mine(1)
        self.evm.rpc("evm_setAutomine", True)  # type: ignore[arg-type]
        self.evm.mine(4)
        self.scan()

    def plan(self) -> tuple[object, float]:
        """A plan, and the seconds that it took."""
        from chains.sweeping.planning import plan_sweeps

        began = time.monotonic()
        plan = plan_sweeps(
            plan=uuid4(),
            network=self.network,
            assets=self.assets,
            nodes=self.nodes,
            payer=self.payer,
            price_of=lambda asset: PRICES.get(asset.symbol),
        )
        return plan, time.monotonic() - began

    def sweep(self, kind: str, symbol: str) -> None:
        """Plan, send, follow to the end, and print what it cost."""
        from chains.models import Sweep
        from chains.networks import registry
        from chains.sweeping.following import follow_sweeps
        from chains.sweeping.sending import send_plan

        plan, seconds = self.plan()
        send_plan(
            plan=plan.id,  # type: ignore[attr-defined]
            networks=registry(),
            node_for=lambda _network: self.nodes,
            payer=self.payer,
        )
        self.evm.mine(4)
        follow_sweeps(
            network=self.network,
            nodes=self.nodes,
            payer_of=lambda: self.payer,
        )
        sweeps = Sweep.objects.filter(plan=plan.id)  # type: ignore[attr-defined]
        if {sweep.state for sweep in sweeps} != {"done"}:
            raise RuntimeError("A sweep did not end.")
        addresses = sum(sweep.items.count() for sweep in sweeps)
        gas = sum(sweep.gas_used or 0 for sweep in sweeps)
        design = f"{DESIGN_GAS[kind]:>10,}" if symbol != "ETH" else f"{'':>10}"
        print(
            f"{symbol:6}{kind:8}{addresses:>10}{len(sweeps):>8}{gas:>13,}{gas // addresses:>13,}"
            f"{design}{seconds:>11.2f}"
        )


def crowd(sweeper: Sweeper, transfers: int) -> None:
    """Fill the database with final transfers that were swept long ago, and plan once more."""
    from django.db import connection

    asset = next(one for one in sweeper.assets if one.symbol == "USDT")
    with connection.cursor() as sql:
        sql.execute(
            CROWD, {"network": sweeper.network.caip2, "asset": asset.caip19, "n": transfers}
        )
        sql.execute("ANALYZE")
    sweeper.pay("USDT", 10)
    _plan, seconds = sweeper.plan()
    print(f"\na plan for 10 addresses among {transfers:,} swept ones: {seconds:.2f} s")


CROWD: Final = """
WITH block AS (
    SELECT id FROM chains_block WHERE network = %(network)s ORDER BY height LIMIT 1
), old AS (
    INSERT INTO chains_sweep (plan, network, asset, factory, treasury, state, gas_limit,
        gas_estimate, fee_wei_per_gas, fee_wei_per_gas_max, sender, nonce, note, txid, block_height,
        block_hash, block_time, gas_used, fee_wei, booked)
    SELECT gen_random_uuid(), %(network)s, %(asset)s, '', '', 'done', 1, 1, 1, 1, 'old', 0, '',
        'old', 1000000, 'old', now(), 1, 1, true
    RETURNING id
), addresses AS (
    INSERT INTO chains_address (network, text, script, reference, wallet, index, salt, created_at)
    SELECT %(network)s, '0x' || n, sha256(n::text::bytea), 'old ' || n, '', NULL,
        sha256(n::text::bytea), now()
    FROM generate_series(1, %(n)s) AS n
    RETURNING id
), items AS (
    INSERT INTO chains_sweepitem (sweep_id, address_id, asset, value, swept, live)
    SELECT old.id, addresses.id, %(asset)s, 1, 1, false FROM old, addresses
)
INSERT INTO chains_transfer (network, asset, txid, position, variant, value, state, maturity,
    revision, replaced_by, first_seen_at, address_id, block_id)
SELECT %(network)s, %(asset)s, 'old ' || addresses.id, 'log:0', 0, 1, 'final', 0,
    addresses.id, '', now(), addresses.id, block.id
FROM addresses, block
"""


def main() -> None:
    addresses = int(sys.argv[1]) if len(sys.argv) > 1 else 100
    transfers = int(sys.argv[2]) if len(sys.argv) > 2 else 200_000
    with bare_city() as evm:
        sweeper = Sweeper(evm)
        sweeper.scan()
        print(
            f"{'asset':6}{'kind':8}{'addresses':>10}{'batches':>8}{'gas':>13}{'gas each':>13}"
            f"{'design':>10}{'plan s':>11}"
        )
        for symbol in ("USDT", "USDC", "ETH"):
            for kind in ("fresh", "used"):
                sweeper.pay(symbol, addresses)
                sweeper.sweep(kind, symbol)
        crowd(sweeper, transfers)


if __name__ == "__main__":
    main()
