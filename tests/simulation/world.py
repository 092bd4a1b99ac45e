"""One seed's world: chains that move, nodes that fail, payers, and workers that take turns."""

import random
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final
from uuid import UUID

from django.db.backends.base.base import BaseDatabaseWrapper

from alatau_pay.devnet import anvil, bitcoind
from chains.assets import Network
from chains.networks import registry
from chains.nodes import Node
from chains.pool import NodePool
from chains.scanning import ScanReport, scan_network
from merchants.expiring import expire_invoices
from merchants.invoices import choose_option, issue_invoice
from merchants.models import Invoice, PaymentOption
from merchants.settling import apply_transfers
from settlement.rates.sources import FixedSource
from tests.simulation import bitcoin, city, evm_chain
from tests.simulation.chain import Block, Chain
from tests.simulation.clock import Clock
from tests.simulation.evm_node import SimulatedEvmNode
from tests.simulation.servers import HONEST, Server
from tests.simulation.workers import EXPECTED, Killed, Worker

AMOUNTS_TIYN: Final = (1_00, 333_33, 450_000, 1_000_001, 99_999_999)


class ViolationError(AssertionError):
    """An invariant does not hold; the message begins with its number."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bill:
    """What a payer was shown: pay ``quantity`` of ``asset`` to ``script``."""

    invoice: UUID
    shop: UUID
    network: str
    asset: str
    script: bytes
    quantity: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Temper:
    """How rough a seed is: shares are chances for each step or question."""

    steps: int
    depth_max: int
    fault_share: float
    kill_share: float
    switch_share: float
    skew_s: int
    heights: int
    is_on_bitcoin: bool
    is_on_evm: bool
    has_coinbase: bool

    @classmethod
    def drawn(cls, rng: random.Random) -> "Temper":
        """Draw one: some seeds are calm, so that a single rare thing shows by itself."""
        networks = rng.choice(((True, False), (True, False), (False, True), (True, True)))
        deep = rng.random() < 0.15
        return cls(
            steps=rng.randint(12, 45),
            depth_max=20 if deep else rng.choice((1, 2, 3, 6)),
            fault_share=rng.choice((0.0, 0.03, 0.12)),
            kill_share=rng.choice((0.0, 0.1, 0.4)),
            switch_share=rng.choice((0.0, 0.1, 0.4)),
            skew_s=rng.choice((0, 0, 3600, -3600)),
            heights=22 if deep else rng.choice((4, 8)),
            is_on_bitcoin=networks[0],
            is_on_evm=networks[1],
            has_coinbase=networks[0] and rng.random() < 0.1,
        )


class World:
    """Everything that one seed moves; ``trace`` tells what happened, step by step."""

    def __init__(
        self,
        *,
        seed: int,
        observer: BaseDatabaseWrapper,
        connections: Sequence[BaseDatabaseWrapper],
        clock: Clock,
    ) -> None:
        self.rng = random.Random(seed)  # noqa: S311 -- chance that can be repeated
        self.clock = clock
        self.observer = observer
        self.fired: Counter[str] = Counter()
        self.trace: list[str] = []
        self.temper = Temper.drawn(self.rng)
        self.networks = city.networks_of(self.rng)
        self.bills: list[Bill] = []
        self.invoices: list[Invoice] = []
        self.shops: list[UUID] = []
        self.is_calm = False
        self.running: Worker | None = None
        self.task_began_at = clock.now
        self.promised: set[tuple[str, str]] = set()
        """What a scan that just ended has had before its eyes from beginning to end."""
        self.voters: list[Server] = []
        """The honest nodes that it asked, if it was not stopped on its way."""
        self._told: Counter[str] = Counter()
        self.bitcoin_payers = bitcoin.BitcoinPayers(
            rng=self.rng, now=lambda: self.clock.now, asset=city.BTC
        )
        self.evm_payers = evm_chain.EvmPayers(
            rng=self.rng,
            now=lambda: self.clock.now,
            rules=city.rules_of(self.networks[anvil.CAIP2]),
        )
        skew_s = self.rng.choice((0, 0, 0, -3600, -600, 900))
        self.bitcoin_payers.skew = self.evm_payers.skew = timedelta(seconds=skew_s)
        self.chains: dict[str, Chain] = {}
        self.foreign_blocks: dict[str, Block] = {}
        if self.temper.is_on_bitcoin:
            self.chains[bitcoind.CAIP2] = bitcoin.chain_of(self.bitcoin_payers, self.rng)
        if self.temper.is_on_evm:
            self.chains[anvil.CAIP2] = evm_chain.chain_of(
                self.evm_payers, self.rng, began_at=self.clock.now
            )
        for chain in self.chains.values():
            chain.grow(self.temper.heights)
        self.servers = {caip2: self._servers_of(caip2) for caip2 in self.chains}
        self.workers = [
            Worker(
                name=f"worker {number}",
                connection=connection,
                rng=self.rng,
                switch_share=self.temper.switch_share,
            )
            for number, connection in enumerate(connections)
        ]

    def rows(self, query: str, *parameters: object) -> list[tuple[Any, ...]]:
        """What stands committed in the database."""
        with self.observer.cursor() as sql:
            sql.execute(query, parameters)
            return list(sql.fetchall())

    def block_of(self, caip2: str, block_hash: str) -> Block:
        """A block by its hash, also one of another chain. Raises ViolationError for none."""
        known = {**self.foreign_blocks, **self.chains[caip2].blocks}
        if block_hash not in known:
            raise ViolationError(f"C2: block {block_hash} of {caip2} is of no chain at all")
        return known[block_hash]

    def told_height(self, caip2: str) -> int:
        """The highest tip that any server of a network has ever told."""
        return self._told[caip2]

    def say(self, what: str) -> None:
        """Add a line to the trace."""
        self.trace.append(f"{self.clock.now:%H:%M:%S} {what}")

    def fire(self, case: str) -> None:
        """Count that a numbered case or a fault came about."""
        self.fired[case] += 1

    def node_for(self, network: Network) -> NodePool:
        """The pool of a network's servers, as ``chains.networks.node_for`` makes it."""
        assets = registry().assets_on(network.caip2)

        def connect(url: str) -> Node:
            server = self.servers[network.caip2][network.endpoints.index(url)]
            if network.caip2 == bitcoind.CAIP2:
                return bitcoin.SimulatedBitcoinNode(network=network, coin=assets[0], server=server)
            return SimulatedEvmNode(network=network, assets=assets, server=server)

        return NodePool(
            name=network.name,
            urls=network.endpoints,
            connect=connect,
            assets=frozenset(one.caip19 for one in assets),
            clock=self.clock.seconds,
        )

    # Tasks: what ``alatau_pay.pipeline`` would call

    def scan(self, worker: Worker, caip2: str) -> Callable[[], ScanReport]:
        """Scan a network as the worker's process would."""
        network = self.networks[caip2]
        blocks_max = 200 if self.is_calm else self.rng.choice((1, 3, 200))

        def task() -> ScanReport:
            if caip2 not in worker.pools:
                worker.pools[caip2] = self.node_for(network)
            return scan_network(network=network, node=worker.pools[caip2], blocks_max=blocks_max)

        return task

    def apply(self, caip2: str) -> Callable[[], list[UUID]]:
        """Apply a network's changes, perhaps few at a time."""
        limit = self.rng.choice((1, 2, 500))
        return lambda: apply_transfers(network=caip2, limit=limit)

    def issue(self) -> Callable[[], Invoice]:
        """Issue an invoice at this moment's rates."""
        amount_tiyn = self.rng.choice(AMOUNTS_TIYN)
        shop = self.rng.choice(self.shops)
        minutes = self.rng.choice((1, 5, 15, 60))
        source = FixedSource(
            {symbol: rate * self.rng.randint(90, 110) / 100 for symbol, rate in city.RATES.items()}
        )

        def task() -> Invoice:
            invoice = issue_invoice(
                shop_id=shop,
                amount_tiyn=amount_tiyn,
                expires_in=timedelta(minutes=minutes),
                source=source,
            )
            self.invoices.append(invoice)
            return invoice

        return task

    def choose(self) -> Callable[[], PaymentOption]:
        """Choose an asset of an invoice, as its payer would."""
        offers = [asset for asset, *_ in city.ASSETS if asset.partition("/")[0] in self.chains]
        invoice, asset = self.rng.choice(self.invoices), self.rng.choice(offers)

        def task() -> PaymentOption:
            option = choose_option(invoice=invoice, asset=asset)
            script = (
                bitcoin.script_of(option.address)
                if option.network == bitcoind.CAIP2
                else bytes.fromhex(option.address.removeprefix("0x"))
            )
            bill = Bill(
                invoice=invoice.pk,
                shop=invoice.shop_id,
                network=option.network,
                asset=option.asset,
                script=script,
                quantity=int(option.quantity),
            )
            if bill not in self.bills:
                self.bills.append(bill)
            return option

        return task

    def expire(self) -> Callable[[], int]:
        """Expire what is over, perhaps a page of few at a time."""
        limit = self.rng.choice((1, 500))
        return lambda: expire_invoices(limit=limit)

    # Turns

    def begin(self, worker: Worker, name: str, task: Callable[[], Any]) -> None:
        """Give a worker a task, and perhaps a short life."""
        mortal = not self.is_calm and self.rng.random() < self.temper.kill_share
        life = 1 + int(self.rng.expovariate(1 / 15)) if mortal else 0
        worker.start(name, task, life=life)
        worker.began_at = self.clock.now
        worker.promised = self._shown_to_all()
        self.say(f"{worker.name}: {name}" + (f", to die at question {life}" if life else ""))
        self.turn(worker)

    def turn(self, worker: Worker) -> None:
        """Let a busy worker run on; judge how its task ended."""
        self.clock.skew(timedelta(seconds=self.temper.skew_s))
        self.running, self.task_began_at = worker, worker.began_at
        self.promised, self.voters = set(), []
        try:
            worker.go_on()
        finally:
            self.running = None
            self.clock.skew(timedelta(0))
        self._judge(worker)
        self.clock.advance(timedelta(milliseconds=7))

    def _judge(self, worker: Worker) -> None:
        if worker.is_busy:
            return
        failure = worker.failure
        if isinstance(failure, Killed):
            self.fire("R113 worker killed at a question")
            self.say(f"{worker.name}: killed in {worker.task}")
        elif isinstance(failure, EXPECTED):
            self.fire(f"task failed: {type(failure).__name__}")
            self.say(f"{worker.name}: {worker.task} failed: {type(failure).__name__} {failure}")
        elif failure is not None:
            raise ViolationError(f"crash: {worker.task}: {failure!r}") from failure
        else:
            self.say(f"{worker.name}: {worker.task} ended: {_short(worker.result)}")
            if isinstance(worker.result, ScanReport) and worker.result.caught_up:
                shown = worker.promised & self._shown_to_all()
                self.promised = {one for one in shown if one[0] == worker.result.network}
                self.voters = self._voters(worker, worker.result.network)

    def _voters(self, worker: Worker, caip2: str) -> list[Server]:
        if worker.began_at != self.clock.now:
            return []
        health = worker.pools[caip2].health
        return [
            server
            for server, one in zip(self.servers[caip2], health, strict=True)
            if server.mode in HONEST and one.tip_height is not None and not one.error
        ]

    def _shown_to_all(self) -> set[tuple[str, str]]:
        """The Bitcoin transactions that every node of theirs shows in its mempool."""
        return {
            (caip2, txid)
            for caip2, servers in self.servers.items()
            if caip2 == bitcoind.CAIP2 and all(server.is_honest for server in servers)
            for txid in servers[0].waiting
            if all(txid in server.waiting for server in servers)
        }

    def _asked(self, caip2: str, server: Server) -> None:
        if self.running is not None:
            self.running.at_question()
        self._told[caip2] = max(self._told[caip2], server.best.height)

    def _servers_of(self, caip2: str) -> list[Server]:
        chain = self.chains[caip2]
        return [
            Server(
                name=f"{self.networks[caip2].name} node {number}",
                chain=chain,
                foreign=lambda: self._foreign(caip2),
                rng=self.rng,
                asked=lambda server: self._asked(caip2, server),
                fired=self.fire,
            )
            for number, _url in enumerate(self.networks[caip2].endpoints, start=1)
        ]

    def _foreign(self, caip2: str) -> Chain:
        if caip2 == bitcoind.CAIP2:
            chain = bitcoin.chain_of(
                self.bitcoin_payers, self.rng, genesis_hash=self.rng.randbytes(32).hex()
            )
            chain.grow(self.chains[caip2].best.height + self.rng.randint(-1, 3))
            return chain
        # A chain of another id may share a past with ours: it split off some blocks ago.
        own = self.chains[caip2].best
        self.fire("R43 another chain with the same past")
        split = own.at(max(1, own.height - self.rng.randint(1, 5))) or own
        chain = Chain(genesis=split, rng=self.rng, seal=self.evm_payers.seal)
        chain.grow(own.height - split.height + self.rng.randint(0, 3))
        self.foreign_blocks |= chain.blocks
        return chain


def _short(result: object) -> str:
    if isinstance(result, ScanReport):
        return (
            f"applied {result.applied}, rewound {result.rewound}, changed {result.changed}, at "
            f"{result.height} of {result.tip_height}" + (", caught up" if result.caught_up else "")
        )
    if isinstance(result, list):
        return f"{len(result)} invoices"
    if isinstance(result, Invoice):
        return f"{result.pk} {result.amount_tiyn} tiyn"
    if isinstance(result, PaymentOption):
        return f"{result.invoice_id} {result.asset} {result.address} {result.quantity}"
    return str(result)
