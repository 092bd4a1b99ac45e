"""``manage.py sweep``: show what would go to the treasury, send exactly that, follow it."""

import os
from collections.abc import Callable, Sequence
from decimal import Decimal
from typing import Any
from uuid import UUID, uuid4

from django.core.management.base import CommandError, CommandParser
from typing_extensions import override

from alatau_pay.management.base import NetworkCommand
from alatau_pay.sweeps import follow_and_book, price_of
from chains.assets import Asset, Network
from chains.evm.payer import GasPayer, GasPayerError, gas_payer_from
from chains.networks import node_for, registry
from chains.nodes import NodeError
from chains.pool import NodePool
from chains.sweeping.ends import PayerHealth, payer_health
from chains.sweeping.planning import SweepPlan, SweepRefusedError, plan_sweeps
from chains.sweeping.sending import send_plan

WEI: int = 10**18
HEADINGS = ("network", "asset", "addresses", "total", "gas", "cost")


class Command(NetworkCommand):
    """Plan, send or follow sweeps."""

    help = (
        "Move coins from forwarders to the treasury. --plan stores a plan and prints it with its "
        "id; --send ID sends exactly that plan; --follow looks what became of what was sent."
    )

    @override
    def add_arguments(self, parser: CommandParser) -> None:
        """One of three steps, for all networks with a policy or for one."""
        super().add_arguments(parser)
        step = parser.add_mutually_exclusive_group(required=True)
        step.add_argument("--plan", action="store_true", help="plan and print; sends nothing")
        step.add_argument("--send", metavar="ID", type=UUID, help="send the plan with this id")
        step.add_argument("--follow", action="store_true", help="one round of following")

    @override
    def handle(self, *args: Any, **options: Any) -> None:
        """Do one step; fails with a sentence that says what to do."""
        try:
            payer = gas_payer_from(os.environ)
            if payer is None:
                raise CommandError("Set GAS_PAYER_KEY, or GAS_PAYER_KEYSTORE and its password.")
            if options["plan"]:
                self._plan(payer, self._swept(options["network"]))
            elif options["send"]:
                self._send(payer, options["send"])
            else:
                self._follow(payer, self._swept(options["network"]))
        except (GasPayerError, SweepRefusedError) as error:
            raise CommandError(str(error)) from None

    def _swept(self, name: str | None) -> Sequence[Network]:
        chosen = self.chosen(name)
        if name is not None:
            return chosen
        swept = [network for network in chosen if network.sweeping is not None]
        if not swept:
            raise CommandError("NETWORKS_FILE gives no network a 'sweeping' policy.")
        return swept

    def _plan(self, payer: GasPayer, networks: Sequence[Network]) -> None:
        plan_id = uuid4()
        plans: list[SweepPlan] = []

        def plan_one(network: Network, nodes: NodePool) -> None:
            plan = plan_sweeps(
                plan=plan_id,
                network=network,
                assets=registry().assets_on(network.caip2),
                nodes=nodes,
                payer=payer,
                price_of=price_of,
            )
            plans.append(plan)

        failures = self._each(networks, payer, plan_one)
        rows = [row for plan in plans for row in _rows(plan)]
        self._show_table([HEADINGS, *rows])
        for plan in plans:
            self._show_findings(plan)
        if rows:
            self.stdout.write(f"Nothing was sent. To send: manage.py sweep --send {plan_id}")
        elif not failures:
            self.stdout.write("There is nothing to sweep.")
        _fail(failures)

    def _send(self, payer: GasPayer, plan: UUID) -> None:
        sent = send_plan(
            plan=plan,
            networks=registry(),
            node_for=node_for,
            payer=payer,
        )
        for one in sent:
            words = [str(one.sweep), one.outcome, f"0x{one.txid}" if one.txid else "", one.why]
            self.stdout.write("  ".join(word for word in words if word))
        if any(one.why for one in sent):
            raise CommandError("Not all of the plan is on its way; see above.")

    def _follow(self, payer: GasPayer, networks: Sequence[Network]) -> None:
        def follow_one(network: Network, nodes: NodePool) -> None:
            report, booked = follow_and_book(network=network, nodes=nodes)
            self.stdout.write(f"{network.name}: {report}, booked={booked}")

        _fail(self._each(networks, payer, follow_one))

    def _each(
        self,
        networks: Sequence[Network],
        payer: GasPayer,
        do: Callable[[Network, NodePool], None],
    ) -> list[str]:
        """Do something on every network, and show its gas payer; what failed, in sentences."""
        failures = []
        for network in networks:
            nodes = node_for(network)
            try:
                do(network, nodes)
                self._show_payer(payer_health(network=network, nodes=nodes, payer=payer.address))
            except (NodeError, SweepRefusedError) as error:
                # One network that cannot be used keeps no other waiting.
                failures.append(str(error))
        return failures

    def _show_payer(self, health: PayerHealth) -> None:
        has = f"{health.network}: the gas payer {health.address} has {_coins(health.balance_wei)}"
        if health.is_low:
            least = _coins(health.balance_wei_min)
            self.stderr.write(self.style.WARNING(f"{has}, below {least}: top it up."))
        else:
            self.stdout.write(f"{has}.")

    def _show_table(self, rows: Sequence[Sequence[str]]) -> None:
        widths = [max(len(row[column]) for row in rows) for column in range(len(HEADINGS))]
        for row in rows:
            cells = (cell.rjust(width) for cell, width in zip(row, widths, strict=True))
            self.stdout.write("  ".join(cells).rstrip())

    def _show_findings(self, plan: SweepPlan) -> None:
        for one in plan.findings:
            asset = registry().assets[one.asset]
            amount = f"{_amount(one.value, asset)} {asset.symbol}"
            places = f"{len(one.addresses)} addresses"
            if len(one.addresses) == 1:
                (places,) = one.addresses
            self.stderr.write(f"{one.kind}: {amount} at {places}: {one.why}")


def _fail(failures: Sequence[str]) -> None:
    if failures:
        raise CommandError("\n".join(failures))


def _rows(plan: SweepPlan) -> list[tuple[str, ...]]:
    network = registry().networks[plan.network]
    return [
        (
            network.name,
            registry().assets[one.asset].symbol,
            str(len(one.addresses)),
            _amount(one.total, registry().assets[one.asset]),
            str(one.gas),
            f"{_coins(one.cost_wei)} {network.coin}",
        )
        for one in plan.sweeps
    ]


def _amount(value: int, asset: Asset) -> str:
    return f"{Decimal(value).scaleb(-asset.decimals):f}"


def _coins(wei: int) -> str:
    return f"{Decimal(wei) / WEI:f}"
