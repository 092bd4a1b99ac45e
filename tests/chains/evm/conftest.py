"""The EVM devnet as its scanner sees it, in few words."""

import secrets
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime

import pytest

from alatau_pay.devnet import anvil
from alatau_pay.devnet.anvil import EvmDevnet
from alatau_pay.devnet.nodes import Devnet
from chains.addresses import allocate_address
from chains.assets import Network
from chains.networks import node_for, registry
from chains.pool import NodePool
from chains.scanning import ScanReport, scan_network
from chains.transfers import TransferFact, transfers_of


@dataclass
class Scene:
    """One network over its node, or over a provider before it."""

    evm: EvmDevnet
    network: Network
    nodes: NodePool
    tag: str
    """Begins each reference: tests share a chain, and an earlier one may have paid its address."""

    @property
    def to(self) -> str:
        """The address of the reference ``one``."""
        return self.address("one")

    def address(self, reference: str, *, watch_until: datetime | None = None) -> str:
        """The address of a reference."""
        return allocate_address(
            network=self.network, reference=f"{self.tag}-{reference}", watch_until=watch_until
        ).text

    def scan(self) -> ScanReport:
        """Scan to the tip."""
        report = scan_network(network=self.network, node=self.nodes)
        assert report.caught_up
        return report

    def settle(self) -> None:
        """Mine what makes all final, and scan."""
        self.evm.mine(2)
        self.scan()

    def facts(self, reference: str = "one") -> list[TransferFact]:
        """What reached the address of a reference."""
        return transfers_of(references=[f"{self.tag}-{reference}"])

    def counted(self, reference: str = "one") -> list[int]:
        """The values that count, in any order."""
        sure = {"included", "final"}
        return sorted(one.value for one in self.facts(reference) if one.state in sure)

    def over(self, url: str, **changes: object) -> "Scene":
        """The same network through another endpoint."""
        network = replace(self.network, endpoints=(url,), **changes)  # type: ignore[arg-type]
        return Scene(self.evm, network, node_for(network), self.tag)

    def as_listed(self) -> "Scene":
        """The network anew from the registry's file."""
        network = registry().networks[anvil.CAIP2]
        return Scene(self.evm, network, node_for(network), self.tag)


@pytest.fixture(autouse=True)
def chain_left_as_it_was(devnet: Devnet) -> Iterator[None]:
    """Blocks mined in a hurry bring the chain ahead of the clock: other tests are not to see it."""
    before = devnet.evm.rpc("evm_snapshot")
    yield
    devnet.evm.rpc("evm_revert", before)


@pytest.fixture
def scene(networks: Devnet) -> Scene:
    """The network as listed, scanned up to now."""
    network = registry().networks[anvil.CAIP2]
    ready = Scene(networks.evm, network, node_for(network), secrets.token_hex(4))
    ready.scan()
    return ready
