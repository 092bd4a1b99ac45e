"""Transactions that a node cannot trace cost what they moved inside at most, never the scan."""

from dataclasses import replace

import pytest
from django.core.management import call_command

from alatau_pay.devnet import anvil
from chains import answers
from chains.alerts import AlertFact, AlertKind, open_alerts
from chains.evm import rpc
from chains.models import Cursor
from chains.networks import node_for
from chains.nodes import NodeContradictionError, NodeUnavailableError
from chains.rescanning import rescan_network
from tests.chains.evm.conftest import Scene
from tests.chains.evm.deploying import deploy
from tests.chains.evm.proxy import Change, Json, provider, refuse

pytestmark = [pytest.mark.django_db, pytest.mark.case("R57")]

TRACES = {"debug_traceBlockByHash", "debug_traceTransaction"}
MONSTER_BYTES = 40 * 2 * 65_536
"""What the trace of the monster below comes to at least."""


def alerts() -> list[AlertFact]:
    return list(open_alerts(network=anvil.CAIP2))


def mine_monster(scene: Scene) -> str:
    """One block: a contract pays ``one`` 5, and a monster carries 12 to it and 7 on to ``two``.

    No address of ours has code of its own; this one is given the monster's.
    """
    wallet, monster = deploy(scene.evm, "Wallet"), deploy(scene.evm, "Monster")
    web3, to = wallet.w3, scene.to
    code = "0x" + bytes(web3.eth.get_code(monster.address)).hex()
    scene.evm.rpc("anvil_setCode", to, code)
    at_ours = web3.eth.contract(to, abi=monster.abi)
    two = web3.to_checksum_address(scene.address("two"))
    scene.evm.rpc("evm_setAutomine", False)  # type: ignore[arg-type]
    first = wallet.functions.pay(to, 5).transact({"value": 5, "gas": 200_000})
    call = at_ours.functions.pay(two, 7, 40, bytes(65_536))
    sent = call.transact({"value": 12, "gas": 8_000_000})
    scene.evm.mine(1)
    scene.evm.rpc("evm_setAutomine", True)  # type: ignore[arg-type]
    receipts = [web3.eth.get_transaction_receipt(one) for one in (first, sent)]
    assert [one["status"] for one in receipts] == [1, 1]
    assert len({one["blockHash"] for one in receipts}) == 1
    return bytes(sent).hex()


def test_a_transaction_that_no_node_can_trace_is_told_and_the_scan_goes_on(
    scene: Scene, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monster = mine_monster(scene)
    height = scene.evm.web3().eth.block_number
    scene.evm.pay(address=scene.address("three"), value=3)
    with monkeypatch.context() as bound:
        bound.setattr(answers, "ANSWER_BYTES_MAX", MONSTER_BYTES)
        bound.setattr(rpc, "ANSWER_BYTES_MAX", MONSTER_BYTES)
        scene.settle()
        again = rescan_network(network=scene.network, node=scene.nodes, first=height)
    assert again.found == 0
    assert (scene.counted(), scene.counted("two"), scene.counted("three")) == ([5, 12], [], [3])
    (alert,) = alerts()
    assert (alert.kind, alert.subject) == (AlertKind.NOT_TRACED, monster)
    line = f"rescan --network {anvil.CAIP2} --from {height}"
    assert alert.detail.endswith(line)

    command, *options = line.split()
    call_command(command, *options)
    assert "1 that were missing" in capsys.readouterr().out
    call_command(command, *options)
    assert "Nothing was missing" in capsys.readouterr().out
    assert (scene.counted(), scene.counted("two"), scene.counted("three")) == ([5, 12], [7], [3])
    assert alerts() == []


def refuse_whole(question: Json, said: Json) -> Json:
    """A node that has no time for a block of two transactions."""
    if question["method"] == "debug_traceBlockByHash" and len(said["result"]) > 1:
        return refuse(question, -32002, "request timed out")
    return said


def refuse_one(monster: str) -> Change:
    """A node that traces anything but one transaction, and says so in geth's words."""

    def change(question: Json, said: Json) -> Json:
        if question["method"] == "debug_traceBlockByHash":
            for one in said["result"]:
                if one["txHash"] == f"0x{monster}":
                    del one["result"]
                    one["error"] = "execution timeout"
        if question["method"] == "debug_traceTransaction":
            return refuse(question, -32000, "execution timeout")
        return said

    return change


def test_a_block_that_takes_too_long_as_a_whole_is_traced_in_parts(scene: Scene) -> None:
    mine_monster(scene)
    with provider(scene.evm.url, refuse_whole) as seen:
        scene.over(seen.url).settle()
        assert seen.asked["debug_traceTransaction"] == 2
    assert (scene.counted(), scene.counted("two"), alerts()) == ([5, 12], [7], [])


def test_another_node_is_asked_for_what_one_cannot_trace(scene: Scene) -> None:
    monster = mine_monster(scene)
    with provider(scene.evm.url, refuse_one(monster)) as seen:
        network = replace(scene.network, endpoints=(seen.url, scene.evm.url))
        Scene(scene.evm, network, node_for(network), scene.tag).settle()
        assert seen.asked["debug_traceTransaction"] > 0
    assert (scene.counted(), scene.counted("two"), alerts()) == ([5, 12], [7], [])


def forgets_states(question: Json, said: Json) -> Json:
    """A pruned node in catch-up: it cannot trace anything that old."""
    if question["method"].startswith("debug_"):
        return refuse(question, -32000, "required historical state unavailable")
    return said


def breaks_off(question: Json, said: Json) -> Json:
    """A node that goes down while it traces."""
    return {"id": None} if question["method"].startswith("debug_") else said


def knows_no_parts(question: Json, said: Json) -> Json:
    """A provider that traces whole blocks alone."""
    if question["method"] == "debug_traceTransaction":
        return refuse(question, -32601, "the method does not exist")
    return refuse_whole(question, said)


@pytest.mark.parametrize("change", [forgets_states, breaks_off, knows_no_parts])
def test_a_node_that_traces_nothing_is_waited_for(change: Change, scene: Scene) -> None:
    mine_monster(scene)
    before = Cursor.objects.get().height
    with provider(scene.evm.url, change) as seen, pytest.raises(NodeUnavailableError):
        scene.over(seen.url).settle()
    assert alerts() == []
    assert Cursor.objects.get().height - before < 3  # it stands before the monster's block
    scene.settle()
    assert (scene.counted(), scene.counted("two")) == ([5, 12], [7])


def test_a_connection_that_breaks_now_and_then_is_asked_again(scene: Scene) -> None:
    mine_monster(scene)
    broken = 0

    def change(question: Json, said: Json) -> Json:
        nonlocal broken
        if question["method"] in TRACES and broken < 5 and (broken or len(said["result"]) > 1):
            broken += 1
            return {"id": None}
        return said

    with provider(scene.evm.url, change) as seen:
        scene.over(seen.url).settle()
    assert broken == 5
    assert (scene.counted(), scene.counted("two"), alerts()) == ([5, 12], [7], [])


def test_a_transaction_that_moved_to_another_block_meanwhile_is_not_believed(
    scene: Scene,
) -> None:
    mine_monster(scene)

    def change(question: Json, said: Json) -> Json:
        if question["method"] == "eth_getTransactionReceipt":
            said["result"]["blockHash"] = "0x" + "ab" * 32
        return refuse_whole(question, said)

    with provider(scene.evm.url, change) as seen, pytest.raises(NodeContradictionError):
        scene.over(seen.url).settle()
    assert scene.counted() == []
