"""What people must be told of: issuers, accounts that obey others, stray payments, finality."""

from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from django.core.management import CommandError, call_command
from eth_utils.address import to_checksum_address
from web3 import HTTPProvider, Web3

from alatau_pay.devnet import anvil
from alatau_pay.devnet.nodes import Devnet
from alatau_pay.devnet.processes import free_port, running
from alatau_pay.devnet.tools import anvil_command
from chains.accounts import check_accounts
from chains.addresses import allocate_address
from chains.alerts import AlertFact, AlertKind, close_alerts, open_alerts, raise_alert
from chains.assets import FinalTag
from chains.finality import STALLED_S_MIN, watch_finality
from chains.models import Alert, AssetCursor, Deployment, Finality, Transfer
from chains.networks import node_for, registry
from chains.scanning import scan_network
from tests.chains.evm.conftest import Scene
from tests.chains.evm.deploying import deploy, send
from tests.chains.evm.listed import list_token

pytestmark = pytest.mark.django_db

STRANGER = to_checksum_address("0x" + "5a" * 20)


def alerts(network: str = anvil.CAIP2) -> list[AlertFact]:
    return list(open_alerts(network=network))


@pytest.mark.case("R56")
def test_what_an_issuer_does_to_a_listed_token_is_told(scene: Scene) -> None:
    token = deploy(scene.evm, "HostileToken", 10**12)
    other = deploy(scene.evm, "HostileToken", 10**12)
    caip19 = list_token(token.address)
    scene = scene.as_listed()
    to = scene.to
    scene.scan()
    AssetCursor.objects.get_or_create(
        asset=caip19, defaults={"network": anvil.CAIP2, "height": 0, "checked_at": None}
    )
    send(other.functions.pause())  # nobody's business
    send(other.functions.upgrade(STRANGER))
    send(token.functions.block_as_tether(STRANGER))
    scene.scan()
    assert alerts() == []

    send(token.functions.upgrade(STRANGER))
    send(token.functions.pause())
    send(token.functions.block_as_tether(to))
    send(token.functions.block_as_circle(scene.network.treasury))
    scene.scan()
    found = {(one.kind, one.subject) for one in alerts()}
    assert found == {
        (AlertKind.TOKEN_CHANGED, caip19),
        (AlertKind.TOKEN_PAUSED, caip19),
        (AlertKind.ADDRESS_BLOCKED, to),
        (AlertKind.ADDRESS_BLOCKED, scene.network.treasury),
    }
    assert STRANGER.lower()[2:] in next(
        one.detail for one in alerts() if one.kind is AlertKind.TOKEN_CHANGED
    )

    send(token.functions.unpause())
    send(token.functions.unblock_as_circle(scene.network.treasury))
    scene.scan()
    assert {(one.kind, one.subject) for one in alerts()} == {
        (AlertKind.TOKEN_CHANGED, caip19),
        (AlertKind.ADDRESS_BLOCKED, to),
    }
    send(token.functions.pause())
    scene.scan()
    assert AlertKind.TOKEN_PAUSED in {one.kind for one in alerts()}


@pytest.mark.case("R54")
@pytest.mark.case("R56")
def test_a_changed_contract_is_asked_for_its_decimals_at_once(scene: Scene) -> None:
    token = deploy(scene.evm, "HostileToken", 10**12)
    caip19 = list_token(token.address)
    scene = scene.as_listed()
    from chains.listing import check_assets

    assets = registry().assets_on(anvil.CAIP2)
    assert check_assets(network=scene.network, assets=assets, node=scene.nodes)
    assert not check_assets(network=scene.network, assets=assets, node=scene.nodes)
    send(token.functions.upgrade(STRANGER))
    scene.scan()
    assert AssetCursor.objects.get(asset=caip19).checked_at is None
    assert check_assets(network=scene.network, assets=assets, node=scene.nodes)


@pytest.mark.case("R44")
def test_a_payment_on_another_network_is_recorded_and_not_credited(scene: Scene) -> None:
    """The same address exists on every EVM network; the invoice asked for a payment on one."""
    bnb = Deployment.objects.create(
        network="eip155:56",
        factory=scene.network.factory,
        forwarder=scene.network.forwarder,
        treasury=scene.network.treasury,
    )
    elsewhere = allocate_address(
        network=replace(scene.network, caip2="eip155:56"), reference="invoice on BNB Chain"
    ).text
    assert bnb.addresses.count() == 1
    scene.evm.pay(address=elsewhere, value=5_000_000, token=scene.evm.usdt)
    scene.evm.pay(address=elsewhere, value=7)
    scene.settle()
    assert not Transfer.objects.exists()
    assert [one.kind for one in alerts()] == [AlertKind.OTHER_NETWORK] * 2
    for one, value in zip(alerts(), (5_000_000, 7), strict=True):
        assert one.subject == elsewhere
        assert f"{value} base units" in one.detail
        assert "invoice on BNB Chain" in one.detail

    assert close_alerts(network=anvil.CAIP2, kind=AlertKind.OTHER_NETWORK, subject=elsewhere) == 2
    call_command("rescan", "--network", anvil.CAIP2, "--from", str(scene.network.start_height))
    assert alerts() == []
    assert Alert.objects.count() == 2


@pytest.mark.case("R26")
@pytest.mark.case("R44")
def test_a_flood_of_payments_on_another_network_hides_no_other_alert(scene: Scene) -> None:
    """Dust to an address of another network costs its sender next to nothing."""
    for number in range(101):
        raise_alert(
            network=anvil.CAIP2,
            kind=AlertKind.OTHER_NETWORK,
            subject=scene.to,
            evidence=f"{number:064x}/log:0",
            detail="1 base unit",
        )
    raise_alert(
        network=anvil.CAIP2, kind=AlertKind.ADDRESS_BLOCKED, subject=scene.to, detail="frozen"
    )
    shown = alerts()
    assert len(shown) == 100
    assert shown[0].kind is AlertKind.ADDRESS_BLOCKED


@pytest.mark.case("R44")
def test_people_close_what_they_have_dealt_with(
    scene: Scene, capsys: pytest.CaptureFixture[str]
) -> None:
    for number in range(3):
        raise_alert(
            network=anvil.CAIP2,
            kind=AlertKind.OTHER_NETWORK,
            subject=scene.to,
            evidence=f"{number:064x}/log:0",
            detail=f"payment {number}",
        )
    raise_alert(
        network=anvil.CAIP2, kind=AlertKind.ADDRESS_BLOCKED, subject=scene.to, detail="frozen"
    )
    first, *others = [one for one in alerts() if one.kind is AlertKind.OTHER_NETWORK]
    call_command("alerts", "--close", str(first.id))
    said = capsys.readouterr().out
    assert said.startswith("1 closed.")
    assert "payment 0" not in said
    assert f"{others[0].id} " in said
    assert "frozen" in said
    with pytest.raises(CommandError, match="no open alerts"):
        call_command("alerts", "--close", str(first.id))
    with pytest.raises(CommandError, match="--kind"):
        call_command("alerts", "--close-all")
    call_command("alerts", "--kind", "paid on another network", "--close-all")
    assert [one.kind for one in alerts()] == [AlertKind.ADDRESS_BLOCKED]
    # The same payment, read again, opens nothing; what goes on does.
    for kind, evidence in ((AlertKind.OTHER_NETWORK, first.evidence), (alerts()[0].kind, "")):
        close_alerts(network=anvil.CAIP2, kind=kind, subject=scene.to)
        raise_alert(
            network=anvil.CAIP2, kind=kind, subject=scene.to, evidence=evidence, detail="again"
        )
    assert [one.kind for one in alerts()] == [AlertKind.ADDRESS_BLOCKED]


@pytest.mark.case("R61")
def test_a_treasury_or_deposit_address_that_obeys_others_raises_the_alarm(scene: Scene) -> None:
    evm, web3 = scene.evm, scene.evm.web3()
    evm.pay(address=scene.to, value=3)
    scene.settle()
    assert check_accounts(network=scene.network, nodes=scene.nodes) == 0
    delegated = "0xef0100" + STRANGER[2:]
    for account in (scene.to, scene.network.treasury):
        evm.rpc("anvil_setCode", account, delegated)
    assert bytes(web3.eth.get_code(scene.network.treasury)).hex() == delegated[2:].lower()

    assert check_accounts(network=scene.network, nodes=scene.nodes) == 2
    assert {one.subject for one in alerts()} == {scene.to, scene.network.treasury}
    assert all(STRANGER in one.detail for one in alerts())

    for account in (scene.to, scene.network.treasury):
        evm.rpc("anvil_setCode", account, "0x")
    assert check_accounts(network=scene.network, nodes=scene.nodes) == 0
    assert alerts() == []


@pytest.mark.case("R36")
@pytest.mark.parametrize("tag", FinalTag)
def test_a_stalled_finality_queues_and_says_so(
    tag: FinalTag, networks: Devnet, tmp_path: Path
) -> None:
    """A node whose epochs are so long that nothing new is finalised while blocks go on."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    web3 = Web3(HTTPProvider(url))
    command = [*anvil_command(), "--host", "127.0.0.1", "--port", str(port), "--silent"]
    command += ["--slots-in-an-epoch", "1000"]
    listed = registry().networks[anvil.CAIP2]
    network = replace(listed, endpoints=(url,), start_height=1, factory="", final_tag=tag)
    to = allocate_address(network=listed, reference="one").text
    with running(command, folder=tmp_path, name="anvil", answers=web3.is_connected):
        node = node_for(network)
        scan_network(network=network, node=node)
        web3.eth.send_transaction({"from": web3.eth.accounts[1], "to": to, "value": 5})
        assert not watch_finality(network=network, node=node)
        web3.provider.make_request("anvil_mine", ["0x20"])  # type: ignore[arg-type]
        assert not watch_finality(network=network, node=node)  # it need not move at every block
        row = Finality.objects.get()
        row.moved_at -= timedelta(seconds=STALLED_S_MIN + 1)
        row.save()
        assert watch_finality(network=network, node=node)
        scan_network(network=network, node=node)
        assert [one.state for one in Transfer.objects.all()] == ["included"]
        (alert,) = alerts()
        assert (alert.kind, alert.subject) == (AlertKind.FINALITY_STALLED, anvil.CAIP2)
        assert "wait to settle" in alert.detail
        assert watch_finality(network=network, node=node)
        assert len(alerts()) == 1

        web3.provider.make_request("anvil_mine", [hex(2_500)])  # type: ignore[arg-type]
        assert not watch_finality(network=network, node=node)
        assert alerts() == []
        scan_network(network=network, node=node, blocks_max=5_000)
        assert [one.state for one in Transfer.objects.all()] == ["final"]


@pytest.mark.case("R36")
def test_a_chain_that_stands_still_does_not_stall_its_finality(scene: Scene) -> None:
    assert not watch_finality(network=scene.network, node=scene.nodes)
    Finality.objects.update(moved_at=Finality.objects.get().moved_at - timedelta(days=1))
    assert not watch_finality(network=scene.network, node=scene.nodes)
    assert alerts() == []
