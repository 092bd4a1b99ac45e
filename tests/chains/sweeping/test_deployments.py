"""Addresses of earlier contracts and treasuries still pay the treasury they were made for."""

import json
import secrets
from pathlib import Path

import pytest
from eth_utils.address import to_canonical_address, to_checksum_address
from eth_utils.crypto import keccak
from pytest_django.fixtures import Settings
from rlp import encode as rlp_encode

from alatau_pay.devnet.anvil import _deploy
from chains.models import Address, Deployment
from chains.networks import RegistryError, registry
from chains.sweeping.holdings import FindingKind
from tests.chains.sweeping.conftest import Sweeping

pytestmark = pytest.mark.django_db


def deploy_contracts(sweeping: Sweeping) -> dict[str, str]:
    """Another forwarder and factory, from an account of their own."""
    web3 = sweeping.devnet.evm.web3()
    deployer = web3.eth.accounts[6]
    nonce = web3.eth.get_transaction_count(deployer)
    foretold = keccak(rlp_encode([to_canonical_address(deployer), nonce + 1]))[12:]
    forwarder = _deploy(web3, "Forwarder", deployer, to_checksum_address(foretold))
    factory = _deploy(web3, "ForwarderFactory", deployer, forwarder)
    assert to_canonical_address(factory) == foretold
    return {"forwarder": forwarder, "factory": factory}


def test_an_address_is_swept_to_the_treasury_it_was_made_for(sweeping: Sweeping) -> None:
    old = sweeping.network.treasury
    sweeping.pay("USDT", 20_000_000, "old")
    new = to_checksum_address(secrets.token_hex(20))
    sweeping.change_network(treasury=new)
    sweeping.pay("USDT", 30_000_000, "new")
    newest = to_checksum_address(secrets.token_hex(20))
    sweeping.change_network(treasury=newest, **deploy_contracts(sweeping))
    sweeping.pay("USDT", 40_000_000, "newest")
    sweeping.settle()

    plan = sweeping.plan()
    assert sorted((one.treasury, one.total) for one in plan.sweeps) == sorted(
        [(old, 20_000_000), (new, 30_000_000), (newest, 40_000_000)]
    )
    assert plan.findings == ()
    assert [one.why for one in sweeping.send(plan)] == [""] * 3
    sweeping.settle()
    sweeping.follow()
    for treasury, value in ((old, 20_000_000), (new, 30_000_000), (newest, 40_000_000)):
        assert sweeping.balance("USDT", treasury) == value


def test_an_address_without_a_deployment_is_held_against_the_registry(
    sweeping: Sweeping,
) -> None:
    sweeping.pay("USDT", 20_000_000, "old")
    Address.objects.update(deployment=None)
    sweeping.settle()
    assert len(sweeping.plan().sweeps) == 1
    sweeping.change_network(treasury=to_checksum_address(secrets.token_hex(20)))
    plan = sweeping.plan()
    assert plan.sweeps == ()
    assert [one.kind for one in plan.findings] == [FindingKind.OTHER_TREASURY]


def test_a_row_that_was_given_another_treasury_is_not_believed(sweeping: Sweeping) -> None:
    """R95 for sweeps: the address itself says where its coins go, not the row beside it."""
    sweeping.pay("USDT", 20_000_000)
    thief = to_checksum_address(secrets.token_hex(20))
    sweeping.settle()
    Deployment.objects.update(treasury=thief)
    (one,) = sweeping.plan().sweeps
    assert one.treasury == sweeping.network.treasury


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"gas_max": 2**24 + 1}, "gas_max"),
        ({"gas_max": 0}, "gas_max"),
        ({"cost_bp_max": 0}, "cost_bp_max"),
        ({"cost_bp_max": 10_001}, "cost_bp_max"),
        ({"fee_wei_per_gas_max": 0}, "not above zero"),
        ({"payer_wei_min": 0}, "not above zero"),
        ({"replace_after_s": 0}, "not above zero"),
        ({"age_s_max": -1}, "age_s_max"),
        ({"minimums": [{"asset": "eip155:31337/slip44:60", "value": 0}]}, "minimum"),
        ({"minimums": [{"asset": "eip155:31337/slip44:60", "value": 1}] * 2}, "minimum"),
        ({"minimums": [{"asset": "eip155:1/slip44:60", "value": 1}]}, "not listed there"),
    ],
)
def test_a_policy_that_cannot_be_meant_is_refused(
    sweeping: Sweeping, change: dict[str, object], match: str
) -> None:
    sweeping.change(**change)
    with pytest.raises(RegistryError, match=match):
        registry()


def test_a_policy_for_bitcoin_or_without_the_coin_is_refused(
    sweeping: Sweeping, settings: Settings
) -> None:
    path = Path(settings.NETWORKS_FILE)
    content = json.loads(path.read_text())
    bitcoin, evm = content["networks"]
    assert (bitcoin["kind"], evm["kind"]) == ("bitcoin", "evm")
    without = [one for one in content["assets"] if not one["caip19"].endswith("slip44:60")]
    path.write_text(json.dumps({**content, "assets": without}))
    with pytest.raises(RegistryError, match="list their coin"):
        registry()
    bitcoin["sweeping"] = evm["sweeping"] | {"minimums": []}
    path.write_text(json.dumps(content))
    with pytest.raises(RegistryError, match="EVM networks"):
        registry()
