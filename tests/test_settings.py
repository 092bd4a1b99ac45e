"""Settings: every one is documented, and a wrong one is named."""

import os
import re
import subprocess
import sys

import pytest

from alatau_pay.engines import REPOSITORY

READ = re.compile(
    r"""(?:environ(?:\.get)?[\[(]|\b(?:flag|level|seconds|whole|variable)\(|_existing\(named, )"""
    r"""\s*"([A-Z][A-Z0-9_]+)\""""
)
NOT_OURS = {"DJANGO_SETTINGS_MODULE"}


def variables() -> set[str]:
    packages = ("alatau_pay", "chains", "merchants", "settlement")
    sources = [path for name in packages for path in (REPOSITORY / name).rglob("*.py")]
    return {name for path in sources for name in READ.findall(path.read_text())} - NOT_OURS


def test_every_variable_that_the_code_reads_is_documented() -> None:
    documented = set(
        re.findall(r"`([A-Z][A-Z0-9_]+)`", (REPOSITORY / "docs/settings.md").read_text())
    )
    assert {"SECRET_KEY", "DATABASE_URL", "NETWORKS_FILE", "DEVNET"} <= variables()
    assert variables() <= documented


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("DATABASE_URL", "mysql://127.0.0.1/x"),
        ("DEVNET", "yes"),
        ("FIXED_RATES", "BTC=abc"),
        ("FIXED_RATES", "BTC"),
        ("RATE_SPREAD_BP", "-1"),
        ("RATE_SPREAD_BP", "5001"),
        ("RATE_SOURCES_MIN", "0"),
        ("RATE_INTERVAL_S", "30.5"),
    ],
)
def test_a_wrong_setting_is_named(name: str, value: str) -> None:
    program = "import django; django.setup()"
    environment = os.environ | {"DJANGO_SETTINGS_MODULE": "alatau_pay.settings", name: value}
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=REPOSITORY,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode != 0
    last = done.stderr.strip().splitlines()[-1]
    assert "ImproperlyConfigured" in last
    assert name in last
