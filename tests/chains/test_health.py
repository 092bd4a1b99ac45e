"""What the scans found of a network's nodes, kept for whoever asks."""

from dataclasses import replace
from pathlib import Path

import pytest

from alatau_pay.devnet.nodes import Devnet
from alatau_pay.devnet.processes import free_port
from chains.health import NetworkHealth, health_of, record_health
from chains.networks import registry
from chains.pool import PAUSE_S_MAX, NodePool, endpoint_name
from tests.chains.test_pool import Clock, bare_node, mine, pool_of, url_of

pytestmark = pytest.mark.django_db

CAIP2 = "eip155:31337"


def told(pool: NodePool) -> NetworkHealth:
    record_health(network=CAIP2, endpoints=pool.health)
    return health_of(network=CAIP2)


@pytest.mark.case("R19")
def test_tip_lag_and_the_last_error_of_every_endpoint(networks: Devnet, tmp_path: Path) -> None:
    listed, clock, port = registry().networks[CAIP2], Clock(), free_port()
    network = replace(listed, factory="", forwarder="", treasury="")
    unborn = f"http://key:hidden@127.0.0.1:{port}"
    with bare_node(tmp_path / "a") as ahead, bare_node(tmp_path / "b") as behind:
        mine(ahead, 9)
        mine(behind, 2)
        pool = pool_of(network, clock, unborn, url_of(behind), url_of(ahead))
        assert pool.tip_height() == 9
        dead, slow, best = told(pool).endpoints
        assert (dead.name, dead.is_up, dead.tip_height) == (f"127.0.0.1:{port}", False, None)
        assert (slow.lag_blocks, slow.speaks, slow.is_up) == (7, False, True)
        assert (best.name, best.lag_blocks, best.speaks) == (endpoint_name(url_of(ahead)), 0, True)
        assert best.latency_ms is not None
        assert "hidden" not in dead.last_error

        with bare_node(tmp_path / "c", port=port):
            clock.now += PAUSE_S_MAX
            pool.tip_height()
            back = told(pool).endpoints[0]
        assert (back.is_up, back.tip_height) == (True, 0)
        assert (back.last_error, back.last_error_at) == (dead.last_error, dead.last_error_at)

        fewer = pool_of(network, clock, url_of(ahead))
        fewer.tip_height()
        assert [one.name for one in told(fewer).endpoints] == [endpoint_name(url_of(ahead))]


def test_a_network_that_no_scan_told_of_has_no_endpoints() -> None:
    health = health_of(network=CAIP2)
    assert (health.endpoints, health.is_up, health.scanned_height) == ((), False, None)
