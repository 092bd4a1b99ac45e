"""Commands say what is wrong, name the setting, and fail."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from django.core.management import CommandError, call_command
from pytest_django.fixtures import Settings

from alatau_pay.devnet.nodes import Devnet
from alatau_pay.engines import REPOSITORY


def test_networks_prints_every_tip(networks: Devnet, capsys: pytest.CaptureFixture[str]) -> None:
    call_command("networks")
    assert capsys.readouterr().out.count(" tip ") == 2


@pytest.mark.case("R18")
def test_networks_fails_on_a_node_that_is_not_there(networks: Devnet, settings: Settings) -> None:
    path = Path(settings.NETWORKS_FILE)
    content = json.loads(path.read_text())
    content["networks"][0]["endpoints"] = ["http://u:hidden@127.0.0.1:9"]
    path.write_text(json.dumps(content))
    with pytest.raises(CommandError, match=r"Bitcoin .endpoints in NETWORKS_FILE.") as failed:
        call_command("networks")
    assert "hidden" not in str(failed.value)
    settings.NETWORKS_FILE = "missing.json"
    with pytest.raises(CommandError, match="NETWORKS_FILE"):
        call_command("networks")


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
