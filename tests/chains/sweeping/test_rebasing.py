"""A token whose balances change by themselves is found by what it says, or by what it does."""

import pytest

from chains.alerts import AlertKind, open_alerts
from chains.listing import check_assets, halted_assets
from chains.networks import node_for, registry
from chains.sweeping.holdings import FindingKind
from tests.chains.evm.deploying import deploy, send
from tests.chains.sweeping.conftest import Sweeping

pytestmark = [pytest.mark.django_db, pytest.mark.case("R52")]


def look(sweeping: Sweeping) -> None:
    """Ask the contracts of all listed assets, as a worker does."""
    network = sweeping.network
    assets = registry().assets_on(network.caip2)
    check_assets(network=network, assets=assets, node=node_for(network))


def test_one_that_says_what_it_is_is_halted_when_it_is_listed(sweeping: Sweeping) -> None:
    token = deploy(sweeping.devnet.evm, "RebasingToken", 10**12, False)
    sweeping.list_token(token.address, "RBT")
    look(sweeping)
    caip19 = sweeping.asset("RBT").caip19
    assert "change by themselves" in halted_assets()[caip19]
    (alert,) = open_alerts(network=sweeping.network.caip2)
    assert (alert.kind, alert.subject) == (AlertKind.TOKEN_HALTED, caip19)


@pytest.mark.parametrize(
    ("index_bp", "kind", "value"),
    [(10_100, FindingKind.UNEXPLAINED, 500_000), (9_900, FindingKind.MISSING, 500_000)],
)
def test_one_that_hides_it_raises_an_alert_by_what_it_did(
    index_bp: int, kind: FindingKind, value: int, sweeping: Sweeping
) -> None:
    token = deploy(sweeping.devnet.evm, "RebasingToken", 10**12, True)
    sweeping.list_token(token.address, "RBT")
    look(sweeping)
    assert halted_assets() == {}
    send(token.functions.transfer(sweeping.address(), 50_000_000))
    sweeping.settle()
    assert sweeping.plan().findings == ()
    assert open_alerts(network=sweeping.network.caip2) == []

    send(token.functions.rebase(index_bp))
    sweeping.settle()
    (finding,) = sweeping.plan().findings
    assert (finding.kind, finding.value) == (kind, value)
    (alert,) = open_alerts(network=sweeping.network.caip2)
    assert (alert.kind, alert.subject, alert.evidence) == (
        AlertKind.BALANCE_UNEXPLAINED,
        sweeping.address(),
        sweeping.asset("RBT").caip19,
    )
