"""Two EVM nodes that lose sight of each other and meet again, asked as one by the scanner.

Local nodes have no peers: from the same beginning, the same transactions at the same timestamps
make the same block hashes. In a partition each gets its own; to end it, the shorter one is started
afresh on its port and given all that the longer one did.
"""

import itertools
import random
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from alatau_pay.devnet import anvil
from alatau_pay.devnet.contracts import artefact
from alatau_pay.devnet.nodes import Devnet
from alatau_pay.devnet.processes import free_port, running
from alatau_pay.devnet.tools import anvil_command
from chains.assets import Asset, Network
from chains.evm.node import EvmNode
from chains.networks import registry
from chains.pool import NodePool
from tests.proof.counting import ask, evm_outputs
from tests.proof.schedule import SCHEDULES, Schedule, scanned, settle

pytestmark = pytest.mark.django_db

BEGAN_AT = 1_790_000_000
Operation = tuple[int, dict[str, str] | None]
"""A block's timestamp, and the transaction that it holds (or none)."""


@dataclass
class Side:
    """One of the two nodes, and all it did."""

    folder: Path
    port: int = field(default_factory=free_port)
    done: list[Operation] = field(default_factory=list)
    process: ExitStack = field(default_factory=ExitStack)

    @property
    def url(self) -> str:
        """Where it answers."""
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Begin from nothing."""
        command = [*anvil_command(), "--host", "127.0.0.1", "--port", str(self.port), "--silent"]
        command += ["--timestamp", str(BEGAN_AT), "--slots-in-an-epoch", "1"]
        node = running(command, folder=self.folder, name="anvil", answers=self.answers)
        self.process.enter_context(node)

    def answers(self) -> bool:
        """Whether it is up."""
        try:
            return bool(self.tip())
        except OSError:
            return False

    def do(self, operation: Operation) -> None:
        """Mine one block at its timestamp."""
        mined_at, transaction = operation
        ask(self, "evm_setNextBlockTimestamp", hex(mined_at))
        if transaction is None:
            ask(self, "anvil_mine", "0x1")
        else:
            fees = {"maxFeePerGas": hex(10**11), "maxPriorityFeePerGas": hex(10**9)}
            ask(self, "eth_sendTransaction", transaction | fees)
        self.done.append(operation)
        # A busy machine mines after it has answered.
        while int(ask(self, "eth_blockNumber"), 16) < len(self.done):
            time.sleep(0.01)

    def follow(self, other: "Side") -> None:
        """Start afresh, and do what the other did."""
        self.process.close()
        self.done = []
        self.start()
        for operation in other.done:
            self.do(operation)

    def tip(self) -> dict[str, Any]:
        """The latest block."""
        block: dict[str, Any] = ask(self, "eth_getBlockByNumber", "latest", False)
        return block


@pytest.fixture
def sides(tmp_path: Path) -> Iterator[tuple[Side, Side]]:
    """Two nodes without contracts that began at the same second."""
    one, two = Side(tmp_path / "one"), Side(tmp_path / "two")
    with one.process, two.process:
        one.start()
        two.start()
        yield one, two


def meet(one: Side, two: Side) -> None:
    """End the partition: the longer side's blocks stand, the first one's when they are equal."""
    if one.done != two.done:
        longer, shorter = (one, two) if len(one.done) >= len(two.done) else (two, one)
        shorter.follow(longer)
    assert one.tip()["hash"] == two.tip()["hash"]


def transfer_of(token: str, sender: str, to: str, value: int) -> dict[str, str]:
    data = "0xa9059cbb" + to[2:].lower().rjust(64, "0") + f"{value:064x}"
    return {"from": sender, "to": token, "data": data, "gas": hex(200_000)}


@pytest.mark.case("R2")
@pytest.mark.case("R19")
@pytest.mark.case("R36")
@pytest.mark.parametrize("seed", range(SCHEDULES))
def test_two_evm_nodes_in_and_out_of_touch(
    seed: int, networks: Devnet, sides: tuple[Side, Side]
) -> None:
    one, two = sides
    clock = itertools.count(BEGAN_AT + 1_000, 12)
    sender = ask(one, "eth_accounts")[0]
    code = artefact("TestUSDT").bytecode + f"{10**15:064x}"
    made = {"from": sender, "data": code, "gas": hex(3_000_000)}
    one.do((next(clock), made))
    receipt = ask(one, "eth_getTransactionReceipt", one.tip()["transactions"][0])
    token = receipt["contractAddress"]
    meet(one, two)
    since = int(one.tip()["number"], 16)
    network = replace(registry().networks[anvil.CAIP2], start_height=since + 1)
    assets = (
        Asset(caip19=f"{anvil.CAIP2}/slip44:60", symbol="ETH", name="Ether", decimals=18),
        Asset(caip19=f"{anvil.CAIP2}/erc20:{token}", symbol="USDT", name="USDT", decimals=6),
    )
    chosen = random.Random(seed)  # noqa: S311 -- a schedule, no secret

    def pool(listed: Network = network) -> NodePool:
        def connect(url: str) -> EvmNode:
            bare = replace(listed, factory="")  # the two have no contracts to be checked
            return EvmNode(network=bare, assets=assets, url=url)

        return NodePool(name="two", urls=chosen.sample([one.url, two.url], 2), connect=connect)

    settle(network, pool)
    plan = Schedule(seed, network, connect=pool)

    def operation() -> Operation:
        to, value = plan.payee(), plan.random.randint(1, 10**9)
        plain = {"from": sender, "to": to, "value": hex(value), "gas": hex(100_000)}
        choices = [plain, transfer_of(token, sender, to, value), None]
        return next(clock), plan.random.choice(choices)

    def together() -> None:
        meet(one, two)
        both = operation()
        one.do(both)
        two.do(both)

    def apart() -> None:
        side = plan.random.choice([one, two])
        for _ in range(plan.random.randint(1, 10)):
            side.do(operation())

    def restart() -> None:
        plan.pool = pool()

    plan.run([together, together, apart, apart, restart], between=lambda: None)
    for _ in range(3):
        together()
    settle(network, pool)
    for side in sides:
        expected = evm_outputs(side, plan.addresses, since=since, tokens=[token])
        assert scanned(network.caip2) == expected
