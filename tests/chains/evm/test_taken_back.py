"""What the chain or a payer takes back: logs that are gone, nonces that are used again."""

from collections.abc import Iterator

import pytest
from web3.types import Nonce, Wei

from alatau_pay.devnet.contracts import artefact
from chains.models import Inclusion, Transfer
from chains.nodes import NodeContradictionError
from tests.chains.evm.conftest import Scene
from tests.chains.evm.proxy import Json, provider

pytestmark = pytest.mark.django_db


def removed(question: Json, said: Json) -> Json:
    """A node that still lists the logs of a block that it took back, marked as removed."""
    if question["method"] == "eth_getLogs":
        return said | {"result": [row | {"removed": True} for row in said["result"]]}
    return said


def reorganise(scene: Scene, snapshot: str) -> None:
    """Go back, and let another chain grow longer."""
    later = scene.evm.web3().eth.get_block("latest")["timestamp"] + 60
    scene.evm.rpc("evm_revert", snapshot)
    scene.evm.rpc("anvil_setNextBlockTimestamp", hex(later))
    scene.evm.mine(3)


@pytest.mark.case("R37")
def test_a_log_that_is_marked_as_removed_is_not_counted(scene: Scene) -> None:
    scene.evm.pay(address=scene.to, value=7, token=scene.evm.usdt)
    refused = pytest.raises(NodeContradictionError, match="any more")
    with provider(scene.evm.url, removed) as lying, refused:
        scene.over(lying.url).scan()
    assert not Transfer.objects.exists()
    scene.scan()
    assert scene.counted() == [7]


@pytest.mark.case("R37")
def test_a_log_of_a_block_that_is_gone_is_not_counted(scene: Scene) -> None:
    web3 = scene.evm.web3()
    snapshot = scene.evm.rpc("evm_snapshot")
    scene.evm.pay(address=scene.to, value=7, token=scene.evm.usdt)
    gone = scene.evm.rpc(
        "eth_getLogs", {"blockHash": web3.eth.get_block("latest")["hash"].to_0x_hex()}
    )
    assert len(gone) == 1
    reorganise(scene, snapshot)

    def still_there(question: Json, said: Json) -> Json:
        return said | {"result": gone} if question["method"] == "eth_getLogs" else said

    with provider(scene.evm.url, still_there) as stale, pytest.raises(NodeContradictionError):
        scene.over(stale.url).scan()
    assert not Transfer.objects.exists()
    scene.settle()
    assert scene.counted() == []


@pytest.mark.case("R37")
def test_nobody_need_tell_that_a_log_was_removed(scene: Scene) -> None:
    """No notice at all comes between the scan that found the log and the one that misses it."""
    web3 = scene.evm.web3()
    snapshot = scene.evm.rpc("evm_snapshot")
    scene.evm.pay(address=scene.to, value=7, token=scene.evm.usdt)
    scene.scan()
    before = web3.eth.get_block("latest")
    assert scene.counted() == [7]
    reorganise(scene, snapshot)
    assert web3.eth.get_block(before["number"])["hash"] != before["hash"]
    scene.scan()
    assert scene.counted() == []
    (row,) = Inclusion.objects.select_related("block")
    assert not row.block.canonical


@pytest.fixture
def waiting(scene: Scene) -> Iterator[Scene]:
    """Nothing is mined before the test says so."""
    scene.evm.rpc("evm_setAutomine", False)
    yield scene
    scene.evm.rpc("anvil_dropAllTransactions")
    scene.evm.rpc("evm_setAutomine", True)


def send_usdt(scene: Scene, to: str, value: int, *, nonce: int, fee_gwei: int) -> None:
    """A payer's own transaction, under a nonce of his choice; it waits to be mined."""
    web3 = scene.evm.web3()
    usdt = web3.to_checksum_address(scene.evm.usdt)
    token = web3.eth.contract(usdt, abi=artefact("TestUSDT").abi)
    token.functions.transfer(web3.to_checksum_address(to), value).transact(
        {
            "from": web3.to_checksum_address(scene.evm.resident),
            "nonce": Nonce(nonce),
            "gas": 200_000,
            "maxFeePerGas": Wei(fee_gwei * 10**9),
            "maxPriorityFeePerGas": Wei(fee_gwei * 10**9),
        }
    )


def next_nonce(scene: Scene) -> int:
    web3 = scene.evm.web3()
    return web3.eth.get_transaction_count(web3.to_checksum_address(scene.evm.resident))


@pytest.mark.case("R63")
@pytest.mark.parametrize("to_us", [True, False], ids=["another sum", "back to the payer"])
def test_a_pending_payment_that_its_payer_replaces_never_counts(
    to_us: bool, waiting: Scene
) -> None:
    nonce = next_nonce(waiting)
    send_usdt(waiting, waiting.to, 500, nonce=nonce, fee_gwei=50)
    waiting.scan()
    assert waiting.facts() == []
    other = waiting.to if to_us else waiting.evm.resident
    send_usdt(waiting, other, 300, nonce=nonce, fee_gwei=100)
    waiting.settle()
    assert waiting.counted() == ([300] if to_us else [])
    assert next_nonce(waiting) == nonce + 1


@pytest.mark.case("R63")
def test_a_pending_payment_that_is_dropped_never_counts_and_may_come_again(waiting: Scene) -> None:
    nonce = next_nonce(waiting)
    send_usdt(waiting, waiting.to, 500, nonce=nonce, fee_gwei=50)
    waiting.evm.rpc("anvil_dropAllTransactions")
    waiting.settle()
    assert waiting.facts() == []
    send_usdt(waiting, waiting.to, 500, nonce=nonce, fee_gwei=50)
    waiting.settle()
    assert waiting.counted() == [500]


@pytest.mark.case("R63")
def test_a_nonce_used_again_after_a_reorganisation_takes_its_payment_along(scene: Scene) -> None:
    """The payment was in a block; on the chain that won, its nonce paid somebody else."""
    nonce = next_nonce(scene)
    snapshot = scene.evm.rpc("evm_snapshot")
    send_usdt(scene, scene.to, 500, nonce=nonce, fee_gwei=50)
    scene.scan()
    assert scene.counted() == [500]
    reorganise(scene, snapshot)
    send_usdt(scene, scene.evm.treasury, 500, nonce=nonce, fee_gwei=50)
    scene.settle()
    assert [one.state for one in scene.facts()] == ["dropped"]
    assert next_nonce(scene) == nonce + 1
