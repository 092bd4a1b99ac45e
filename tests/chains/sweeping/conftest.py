"""A gas payer, a treasury that received nothing yet, and the way from a payment to its sweep."""

import json
import secrets
from dataclasses import dataclass, field
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from uuid import uuid4

import pytest
from django.db.models import F
from eth_account import Account
from eth_utils.address import to_checksum_address
from pytest_django.fixtures import Settings
from web3.contract import Contract

from alatau_pay.devnet import anvil
from alatau_pay.devnet.contracts import artefact
from alatau_pay.devnet.nodes import Devnet
from chains.addresses import allocate_address
from chains.assets import Asset, Network
from chains.evm.payer import GasPayer
from chains.models import Block, Sweep, SweepAttempt
from chains.networks import node_for, registry
from chains.pool import NodePool
from chains.scanning import scan_network
from chains.sweeping.following import FollowReport, follow_sweeps
from chains.sweeping.planning import SweepPlan, plan_sweeps
from chains.sweeping.sending import SweepSent, send_plan

PRICES = {"ETH": Decimal(1_500_000), "USDT": Decimal(475), "USDC": Decimal(475)}


@dataclass
class Sweeping:
    """Everything that a test of sweeping does, on the real node, in few words."""

    devnet: Devnet
    file: Path
    payer: GasPayer
    key: str = field(repr=False)
    prices: dict[str, Decimal] = field(default_factory=lambda: dict(PRICES))

    @property
    def network(self) -> Network:
        return registry().networks[anvil.CAIP2]

    @property
    def nodes(self) -> NodePool:
        return node_for(self.network)

    def asset(self, symbol: str) -> Asset:
        listed = registry().assets_on(anvil.CAIP2)
        return next(asset for asset in listed if asset.symbol == symbol)

    def change(self, **policy: object) -> None:
        """Change the network's sweeping policy in the registry's file."""
        content = json.loads(self.file.read_text())
        (entry,) = (one for one in content["networks"] if one["caip2"] == anvil.CAIP2)
        entry["sweeping"] |= policy
        self.file.write_text(json.dumps(content))

    def change_network(self, **fields: object) -> None:
        """Change the network's own entry in the registry's file."""
        content = json.loads(self.file.read_text())
        (entry,) = (one for one in content["networks"] if one["caip2"] == anvil.CAIP2)
        entry |= fields
        self.file.write_text(json.dumps(content))

    def list_token(self, contract: str, symbol: str) -> None:
        """Add a token to the registry and to the policy."""
        content = json.loads(self.file.read_text())
        caip19 = f"{anvil.CAIP2}/erc20:{contract}"
        content["assets"].append(
            {"caip19": caip19, "symbol": symbol, "name": symbol, "decimals": 6}
        )
        (entry,) = (one for one in content["networks"] if one["caip2"] == anvil.CAIP2)
        entry["sweeping"]["minimums"].append({"asset": caip19, "value": 1_000_000})
        self.file.write_text(json.dumps(content))
        self.prices[symbol] = Decimal(475)

    def address(self, reference: str = "one") -> str:
        return allocate_address(network=self.network, reference=reference).text

    def pay(self, symbol: str, value: int, reference: str = "one") -> str:
        """Pay an address from the resident's account; the transaction is mined at once."""
        token = self.asset(symbol).contract
        to = self.address(reference)
        self.devnet.evm.pay(address=to, value=value, token=token)
        return to

    def settle(self) -> None:
        """Mine until all that is mined is final, and scan it."""
        self.devnet.evm.mine(3)
        self.scan()

    def scan(self) -> None:
        assert scan_network(network=self.network, node=self.nodes).caught_up

    def plan(self) -> SweepPlan:
        return plan_sweeps(
            plan=uuid4(),
            network=self.network,
            assets=registry().assets_on(anvil.CAIP2),
            nodes=self.nodes,
            payer=self.payer,
            price_of=lambda asset: self.prices.get(asset.symbol),
        )

    def send(self, plan: SweepPlan) -> list[SweepSent]:
        return send_plan(
            plan=plan.id,
            networks=registry(),
            node_for=lambda _network: self.nodes,
            payer=self.payer,
        )

    def follow(self, *, with_key: bool = True) -> FollowReport:
        return follow_sweeps(
            network=self.network,
            nodes=self.nodes,
            payer_of=lambda: self.payer if with_key else None,
        )

    def let_pass(self, time: timedelta) -> None:
        """As if so much time had passed since everything that is stored."""
        for model, field_name in (
            (Sweep, "planned_at"),
            (SweepAttempt, "signed_at"),
            (Block, "time"),
        ):
            model.objects.update(**{field_name: F(field_name) - time})

    def token(self, symbol: str) -> Contract:
        contract = self.asset(symbol).contract
        assert contract is not None
        web3 = self.devnet.evm.web3()
        return web3.eth.contract(to_checksum_address(contract), abi=artefact("TestUSDT").abi)

    def balance(self, symbol: str, holder: str) -> int:
        if self.asset(symbol).contract is None:
            return self.devnet.evm.web3().eth.get_balance(to_checksum_address(holder))
        return int(self.token(symbol).functions.balanceOf(holder).call())

    def in_treasury(self, symbol: str) -> int:
        return self.balance(symbol, self.network.treasury)


@pytest.fixture
def sweeping(networks: Devnet, settings: Settings) -> Sweeping:
    """A funded gas payer, and a treasury of this test's own."""
    account = Account.create()
    networks.evm.rpc("anvil_setBalance", account.address, hex(10**18))
    ours = Sweeping(
        devnet=networks,
        file=Path(settings.NETWORKS_FILE),
        payer=GasPayer(account),
        key=account.key.hex(),
    )
    ours.change_network(treasury=to_checksum_address(secrets.token_hex(20)))
    networks.evm.rpc("anvil_setNextBlockBaseFeePerGas", hex(10**9))
    networks.evm.mine(1)
    ours.scan()
    return ours
