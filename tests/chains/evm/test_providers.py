"""Providers as they are: with other headers, limits, silences and contradictions."""

from dataclasses import replace

import pytest

from alatau_pay.devnet import anvil
from alatau_pay.devnet.nodes import Devnet
from chains.addresses import allocate_address
from chains.networks import node_for, registry
from chains.scanning import scan_network
from chains.transfers import transfers_of
from tests.chains.evm.proxy import Json, provider

pytestmark = pytest.mark.django_db


def with_long_extra_data(_question: Json, said: Json) -> Json:
    """BNB Chain and Polygon: validators and their seals stand in extraData, beyond 32 bytes."""
    if isinstance(said.get("result"), dict) and "extraData" in said["result"]:
        said["result"]["extraData"] = "0x" + "d8" * 517
    return said


def test_a_proof_of_authority_networks_headers_are_read(networks: Devnet) -> None:
    with provider(networks.evm.url, with_long_extra_data) as seen:
        network = replace(registry().networks[anvil.CAIP2], endpoints=(seen.url,))
        node = node_for(network)
        scan_network(network=network, node=node)
        to = allocate_address(network=network, reference="one").text
        networks.evm.pay(address=to, value=4, token=networks.evm.usdt)
        networks.evm.pay(address=to, value=6)
        networks.evm.mine(2)
        scan_network(network=network, node=node)
    paid = transfers_of(references=["one"])
    assert sorted((one.value, one.state) for one in paid) == [(4, "final"), (6, "final")]
