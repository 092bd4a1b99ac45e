"""What all rooms' tests share: the devnet, its registry, an approved shop, a ledger to flush."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from django.db import connection
from pytest_django.fixtures import Settings

from alatau_pay.devnet.nodes import Devnet, start_devnet
from merchants.models import Merchant, Shop


@pytest.fixture(scope="session")
def devnet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Devnet]:
    """Both nodes, once for each test process."""
    with start_devnet(tmp_path_factory.mktemp("nodes")) as running:
        yield running


@pytest.fixture
def networks(devnet: Devnet, tmp_path: Path, settings: Settings) -> Devnet:
    """The devnet, named in the settings, to be scanned from the present tips."""
    # What an earlier test left waiting may pay an address that this one is given again.
    devnet.bitcoin.mine(1)
    path = tmp_path / "networks.json"
    devnet.write_networks_file(path)
    settings.NETWORKS_FILE = str(path)
    return devnet


@pytest.fixture
def shop(db: None) -> Shop:
    """Aigul's shop, approved."""
    merchant = Merchant.objects.create(
        legal_name="ЖШС «Дүкен»", bin_or_iin="250140000409", iban="KZ41722C000000000001"
    )
    return Shop.objects.create(merchant=merchant, name="Дүкен", status=Shop.Status.APPROVED)


@pytest.fixture
def committed(transactional_db: None) -> Iterator[None]:
    """A database whose transactions really commit, and whose ledger the test may flush after."""
    with connection.cursor() as cursor:
        cursor.execute("SET session_replication_role = DEFAULT")
    yield
    with connection.cursor() as cursor:
        cursor.execute("SET ROLE NONE")
        cursor.execute("SET session_replication_role = replica")


def become_the_app() -> None:
    """Go on as the role that the application has in production: it adds to the ledger only."""
    with connection.cursor() as cursor:
        cursor.execute("SET ROLE alatau_app")


@pytest.fixture
def app_role(db: None) -> Iterator[None]:
    """The test runs as the application does; a rollback ends it, like everything else."""
    become_the_app()
    yield
    if not connection.in_atomic_block:
        with connection.cursor() as cursor:
            cursor.execute("SET ROLE NONE")


@dataclass(frozen=True)
class Listing:
    """The registry file of a test, as its operator changes it while everything runs."""

    path: Path

    def without(self, name: str) -> None:
        """Take out an asset, or a network with its assets."""
        listed = self._read()
        listed["assets"] = [
            one
            for one in listed["assets"]
            if name not in {one["caip19"], one["caip19"].partition("/")[0]}
        ]
        listed["networks"] = [one for one in listed["networks"] if one["caip2"] != name]
        for network in listed["networks"]:
            if sweeping := network.get("sweeping"):
                sweeping["minimums"] = [one for one in sweeping["minimums"] if one["asset"] != name]
        self.path.write_text(json.dumps(listed))

    def with_asset(self, **fields: str | int) -> None:
        """List one more asset."""
        listed = self._read()
        listed["assets"].append(fields)
        self.path.write_text(json.dumps(listed))

    def _read(self) -> dict[str, list[dict[str, Any]]]:
        return dict(json.loads(self.path.read_text()))


@pytest.fixture
def listing(networks: Devnet, settings: Settings) -> Listing:
    """The registry file, to be changed."""
    return Listing(Path(settings.NETWORKS_FILE))
