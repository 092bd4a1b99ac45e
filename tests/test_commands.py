"""Commands say what is wrong, name the setting, and fail."""

import io
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from django.core.management import CommandError, call_command
from pytest_django.fixtures import Settings

from alatau_pay.devnet import anvil, bitcoind
from alatau_pay.devnet.nodes import Devnet
from alatau_pay.engines import REPOSITORY
from alatau_pay.management.progress import line_of
from chains.health import health_of
from chains.networks import registry
from chains.pool import endpoint_name
from chains.rescanning import RescanReport

ACCOUNT_OF_BIP_84 = (
    "zpub6rFR7y4Q2AijBEqTUquhVz398htDFrtymD9xYYfG1m4wAcvPhXNfE3EfH1r1ADqtfSdVCToUG868RvUUkgDKf31"
    "mGDtKsAYz2oz2AGutZYs"
)
COMMANDS = {"alerts": {}, "listen": {}, "networks": {}, "rescan": {"first": 1}, "scan": {}}


def change_endpoints(settings: Settings, position: int, *urls: str) -> None:
    path = Path(settings.NETWORKS_FILE)
    content = json.loads(path.read_text())
    content["networks"][position]["endpoints"] = urls
    path.write_text(json.dumps(content))


@pytest.mark.django_db
def test_networks_prints_a_row_for_every_endpoint(
    networks: Devnet, settings: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    call_command("scan")
    evm = networks.evm.url
    change_endpoints(settings, 1, "http://u:hidden@127.0.0.1:9/hidden", evm)
    capsys.readouterr()
    call_command("networks")
    said = capsys.readouterr().out
    header, bitcoin, down, speaks, why = said.splitlines()
    assert header.split() == [
        "network", "endpoint", "state", "tip", "lag", "ms", "scanned", "behind",
    ]  # fmt: skip
    tip = str(networks.bitcoin.call("getblockcount"))
    assert bitcoin.split()[:5] == [
        "Bitcoin",
        endpoint_name(networks.bitcoin.rpc_url),
        "speaks",
        tip,
        "0",
    ]
    assert bitcoin.split()[-2:] == [tip, "0"]
    assert down.split()[:3] == ["Ethereum", "127.0.0.1:9", "down"]
    assert speaks.split()[:3] == ["Ethereum", endpoint_name(evm), "speaks"]
    assert "127.0.0.1:9" in why
    assert "hidden" not in said


@pytest.mark.django_db
def test_networks_prints_json(networks: Devnet, capsys: pytest.CaptureFixture[str]) -> None:
    call_command("networks", "--json", "--network", "ethereum")
    (one,) = json.loads(capsys.readouterr().out)
    assert one["network"] == anvil.CAIP2
    assert one["tip_height"] == networks.evm.web3().eth.block_number
    assert one["scanned_height"] is None
    assert [endpoint["lag_blocks"] for endpoint in one["endpoints"]] == [0]


@pytest.mark.case("R20")
@pytest.mark.django_db
@pytest.mark.parametrize("position", [0, 1])
def test_networks_says_that_a_password_is_wrong(
    networks: Devnet, settings: Settings, position: int
) -> None:
    url = urlsplit(networks.bitcoin.rpc_url)  # it answers 401 whatever the question
    change_endpoints(settings, position, f"http://devnet:hidden@127.0.0.1:{url.port}")
    with pytest.raises(CommandError, match=r"endpoints in NETWORKS_FILE.*HTTP 401") as failed:
        call_command("networks")
    assert "password" in str(failed.value)
    assert "hidden" not in str(failed.value)


@pytest.mark.case("R18")
@pytest.mark.case("R43")
@pytest.mark.django_db
@pytest.mark.parametrize("command", ["networks", "scan"])
def test_a_node_that_is_not_there_or_on_another_chain_fails_the_command(
    networks: Devnet, settings: Settings, command: str
) -> None:
    change_endpoints(settings, 0, "http://u:hidden@127.0.0.1:9")
    with pytest.raises(CommandError, match=r"Bitcoin .endpoints in NETWORKS_FILE.") as failed:
        call_command(command)
    assert "hidden" not in str(failed.value)
    change_endpoints(settings, 0, networks.evm.url)
    with pytest.raises(CommandError, match=r"Bitcoin .endpoints in NETWORKS_FILE."):
        call_command(command)


@pytest.mark.parametrize("url", ["hidden", "ftp://hidden", "http://", "http://hidden:99999"])
def test_what_is_no_url_is_refused_by_name_and_not_repeated(
    networks: Devnet, settings: Settings, url: str
) -> None:
    change_endpoints(settings, 1, url)
    with pytest.raises(
        CommandError, match=r"NETWORKS_FILE: Ethereum: endpoints must be a list of"
    ) as failed:
        call_command("networks")
    assert "hidden" not in str(failed.value)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_says_what_is_wrong_with_the_registry(name: str, settings: Settings) -> None:
    options = COMMANDS[name]
    for path, message in (("missing.json", "NETWORKS_FILE"), ("", "names no network")):
        settings.NETWORKS_FILE = path
        with pytest.raises(CommandError, match=message):
            call_command(name, **options)


@pytest.mark.parametrize(
    ("setting", "value"),
    [("DATABASE_URL", "postgresql://u:hidden@127.0.0.1:1/none"), ("SECRET_KEY", "")],
)
def test_a_command_without_what_it_needs_names_the_setting(
    setting: str, value: str, networks: Devnet, settings: Settings
) -> None:
    environment = os.environ | {"NETWORKS_FILE": settings.NETWORKS_FILE, setting: value}
    if setting == "SECRET_KEY":
        environment |= {"DEVNET": "0"}
    done = subprocess.run(
        [sys.executable, "manage.py", "networks"],
        cwd=REPOSITORY,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1
    assert setting in done.stderr
    assert "Traceback" not in done.stderr
    assert "hidden" not in done.stderr


@pytest.mark.parametrize(
    "words",
    ["trial_balance", "quarantine", "wallet show", "networks", "scan", "alerts", "verify_ledger"],
)
@pytest.mark.parametrize(
    ("url", "advice"),
    [
        ("postgresql://u:hidden@127.0.0.1:1/none", r"cannot be used \(DATABASE_URL\)"),
        ("{url}&options=-csearch_path%3Dnowhere", r"DATABASE_URL.*manage\.py migrate"),
    ],
)
def test_a_database_that_cannot_serve_is_told_in_a_sentence(
    words: str, url: str, advice: str, networks: Devnet, settings: Settings
) -> None:
    named = url.format(url=os.environ["DATABASE_URL"])
    done = subprocess.run(
        [sys.executable, "manage.py", *words.split()],
        cwd=REPOSITORY,
        env=os.environ | {"NETWORKS_FILE": settings.NETWORKS_FILE, "DATABASE_URL": named},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1
    assert re.search(advice, done.stderr)
    assert "Traceback" not in done.stderr
    assert "hidden" not in done.stderr


@pytest.mark.django_db
def test_a_wallet_is_named_as_its_network_is(
    networks: Devnet, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("bitcoin", bitcoind.CAIP2):
        monkeypatch.setattr(sys, "stdin", io.StringIO(networks.bitcoin.account_key))
        call_command("wallet", "check", "--network", name)
        assert "An account of Bitcoin" in capsys.readouterr().out
    with pytest.raises(CommandError, match="Name one of the Bitcoin networks"):
        call_command("wallet", "check", "--network", "Ethereum")


@pytest.mark.django_db
def test_scan_walks_to_the_tip_and_shows_how_far_it_is(
    networks: Devnet, capsys: pytest.CaptureFixture[str]
) -> None:
    call_command("scan", "--network", bitcoind.CAIP2)
    networks.bitcoin.mine(3)
    call_command("scan", "--network", "Bitcoin")
    tip = networks.bitcoin.call("getblockcount")
    assert f"{tip} of {tip}" in capsys.readouterr().out.splitlines()[-1]
    assert health_of(network=bitcoind.CAIP2).scanned_height == tip
    with pytest.raises(CommandError, match="names no network 'Dogecoin'"):
        call_command("scan", "--network", "Dogecoin")


def test_a_line_of_progress_tells_speed_and_time_left() -> None:
    line = line_of(RescanReport(height=150, tip_height=400), name="Bitcoin", first=100, took_s=10.0)
    assert line.split("]")[1] == " 150 of 400  5.0 blocks/s  ETA 0:00:50"
    assert line.count("#") == 4
    done = line_of(RescanReport(height=400, tip_height=400), name="Bitcoin", first=400, took_s=0.0)
    assert done.endswith("] 400 of 400")


def test_the_registry_that_is_shown_to_operators_is_a_good_one(
    tmp_path: Path, settings: Settings
) -> None:
    shown = (REPOSITORY / "docs/setting-up.md").read_text().split("```json")[1].split("```")[0]
    for word, value in (
        ("ZPUB", ACCOUNT_OF_BIP_84),
        ("FACTORY", f"0x{'1' * 40}"),
        ("FORWARDER", f"0x{'2' * 40}"),
        ("TREASURY", f"0x{'3' * 40}"),
    ):
        shown = shown.replace(f'"{word}"', f'"{value}"')
    path = tmp_path / "networks.json"
    path.write_text(shown)
    settings.NETWORKS_FILE, settings.DEVNET = str(path), False
    assert len(registry().networks) == 2
    assert {asset.symbol for asset in registry().assets.values()} == {"BTC", "ETH", "USDT", "USDC"}


@pytest.mark.parametrize("setting", ["BITCOIND", "ANVIL"])
def test_the_demo_names_the_program_that_it_lacks(setting: str) -> None:
    engines = ("DATABASE_URL", "REDIS_URL")
    kept = {key: value for key, value in os.environ.items() if key not in engines}
    done = subprocess.run(
        [sys.executable, "-m", "alatau_pay.devnet.demo"],
        cwd=REPOSITORY,
        env=kept | {setting: "/nonexistent", "ONCE": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1
    assert f"{setting}=/nonexistent" in done.stderr
    assert "Traceback" not in done.stderr
