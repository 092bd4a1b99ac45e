"""One seed's course of payments, blocks, reorganisations and scans, and what must come of it."""

import os
import random
from collections.abc import Callable

from chains.addresses import allocate_address
from chains.assets import Network
from chains.models import Transfer
from chains.networks import node_for
from chains.nodes import NodeError
from chains.pool import NodePool
from chains.scanning import scan_network
from tests.proof.counting import Found

SCHEDULES = int(os.environ.get("PROOF_SCHEDULES", "4"))
STEPS = 14
ADDRESSES = 4
QUIET_SCANS_MAX = 40


def settle(network: Network, pool: Callable[[], NodePool]) -> None:
    """Scan over sound answers until the tip is reached."""
    for _ in range(QUIET_SCANS_MAX):
        try:
            if scan_network(network=network, node=pool()).caught_up:
                return
        except NodeError:
            continue
    raise AssertionError("the scan never reached the tip")


def scanned(network: str) -> Found:
    """What the scanner holds for standing on the best chain."""
    rows = Transfer.objects.filter(network=network, state__in=["included", "final"])
    return {
        (row.txid, row.position): (row.address.text, int(row.value))
        for row in rows.select_related("address")
    }


class Schedule:
    """One seed's course of payments, blocks, reorganisations and scans on one network."""

    def __init__(
        self, seed: int, network: Network, *, connect: Callable[[], NodePool] | None = None
    ) -> None:
        self.random = random.Random(seed)  # noqa: S311 -- a schedule, no secret
        self.network = network
        self.addresses = [
            allocate_address(network=network, reference=f"{seed}-{number}").text
            for number in range(ADDRESSES)
        ]
        self.connect = connect or (lambda: node_for(self.network))
        self.pool = self.connect()

    def scan(self) -> None:
        """One scan through the proxy; a refusal is what a scan may end with, nothing else is."""
        try:
            scan_network(network=self.network, node=self.pool)
        except NodeError:
            self.pool = self.connect()

    def run(self, actions: list[Callable[[], object]], between: Callable[[], object]) -> None:
        """Mix actions and scans in the seed's order."""
        for _ in range(STEPS):
            self.random.choice(actions)()
            between()
            self.scan()

    def payee(self) -> str:
        """One of the addresses."""
        return self.random.choice(self.addresses)
