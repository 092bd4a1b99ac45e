"""The contracts on chain must be those that our addresses are computed for."""

from dataclasses import replace

import pytest
from eth_utils.address import to_checksum_address

from alatau_pay.devnet import anvil
from alatau_pay.devnet.contracts import artefact
from alatau_pay.devnet.nodes import Devnet
from chains.addresses import allocate_address
from chains.assets import Network
from chains.evm.deployment import PROBE_SALT
from chains.evm.forwarders import forwarder_address
from chains.models import Address
from chains.networks import node_for, registry
from chains.nodes import WrongContractsError
from tests.chains.evm.listed import change_registry, evm_entry

NOBODY = to_checksum_address("0x" + "1234" * 10)


@pytest.fixture
def network(networks: Devnet) -> Network:
    """The EVM network as the devnet lists it."""
    return registry().networks[anvil.CAIP2]


def deployed(evm: anvil.EvmDevnet, name: str, argument: str) -> str:
    web3 = evm.web3()
    made = artefact(name)
    contract = web3.eth.contract(abi=made.abi, bytecode=made.bytecode)
    sent = contract.constructor(argument).transact({"from": evm.resident})
    return str(web3.eth.wait_for_transaction_receipt(sent)["contractAddress"])


def test_the_devnets_contracts_are_accepted(network: Network, networks: Devnet) -> None:
    assert node_for(network).tip_height() == networks.evm.web3().eth.block_number


@pytest.mark.parametrize("name", ["factory", "forwarder"])
def test_an_address_without_a_contract_is_refused(name: str, network: Network) -> None:
    with pytest.raises(WrongContractsError, match=f"no contract at {name}"):
        node_for(replace(network, **{name: NOBODY})).tip_height()


@pytest.mark.parametrize("name", ["factory", "forwarder"])
def test_any_other_contract_in_its_place_is_refused(
    name: str, network: Network, networks: Devnet
) -> None:
    with pytest.raises(WrongContractsError, match="another"):
        node_for(replace(network, **{name: networks.evm.usdt})).tip_height()


def test_a_factory_of_another_forwarder_is_refused(network: Network, networks: Devnet) -> None:
    stray = deployed(networks.evm, "Forwarder", network.factory)
    with pytest.raises(WrongContractsError, match="deploys another forwarder"):
        node_for(replace(network, forwarder=stray)).tip_height()


def test_a_forwarder_of_another_factory_is_refused(network: Network, networks: Devnet) -> None:
    stray = deployed(networks.evm, "ForwarderFactory", network.forwarder)
    with pytest.raises(WrongContractsError, match="obeys another factory"):
        node_for(replace(network, factory=stray)).tip_height()


def test_what_we_compute_is_what_the_factory_says(network: Network, networks: Devnet) -> None:
    factory = networks.evm.web3().eth.contract(
        network.factory, abi=artefact("ForwarderFactory").abi
    )
    assert factory.functions.address_of(network.treasury, PROBE_SALT).call() == forwarder_address(
        factory=network.factory,
        forwarder=network.forwarder,
        treasury=network.treasury,
        salt=PROBE_SALT,
    )


@pytest.mark.django_db
def test_an_address_keeps_the_contracts_and_the_treasury_it_was_computed_for(
    networks: Devnet,
) -> None:
    """After a change of the registry the old address is swept to the treasury baked into it."""
    first = allocate_address(network=registry().networks[anvil.CAIP2], reference="old").text
    change_registry(lambda content: evm_entry(content).update(treasury=NOBODY))
    changed = registry().networks[anvil.CAIP2]
    assert allocate_address(network=changed, reference="old").text == first
    allocate_address(network=changed, reference="new")
    old, new = Address.objects.select_related("deployment").order_by("pk")
    assert old.deployment is not None
    assert new.deployment is not None
    assert (old.deployment.treasury, new.deployment.treasury) == (networks.evm.treasury, NOBODY)

    networks.evm.pay(address=first, value=11)
    web3 = networks.evm.web3()
    factory = web3.eth.contract(old.deployment.factory, abi=artefact("ForwarderFactory").abi)
    before = web3.eth.get_balance(networks.evm.treasury)
    sweep = factory.functions.sweep(old.deployment.treasury, "0x" + "00" * 20, [bytes(old.salt)])
    sweep.transact({"from": networks.evm.resident})
    assert web3.eth.get_balance(networks.evm.treasury) == before + 11
