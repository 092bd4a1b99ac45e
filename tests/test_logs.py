"""Logs can be read by machines and by people, and hold no secret; poor secrets refuse to boot."""

import json
import os
import secrets
import subprocess
import sys
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import pytest
from django.db import connection
from pytest_django.fixtures import Settings

from alatau_pay.devnet.nodes import Devnet
from alatau_pay.engines import REPOSITORY
from alatau_pay.logs import redact
from chains.networks import registry

KEY = "k3y-0f-a-pr0vider"
XPUB = "xpub" + "7" * 107


def run(*command: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *command],
        cwd=REPOSITORY,
        env=os.environ | environment,
        capture_output=True,
        text=True,
    )


def name_endpoints(settings: Settings, position: int, *urls: str) -> None:
    path = Path(settings.NETWORKS_FILE)
    content = json.loads(path.read_text())
    content["networks"][position]["endpoints"] = urls
    path.write_text(json.dumps(content))


@pytest.mark.case("R104")
@pytest.mark.case("R94")
def test_no_log_of_a_scan_holds_a_secret(
    networks: Devnet, settings: Settings, committed: None
) -> None:
    """At the level that says most, with a node that answers and one that does not."""
    password = urlsplit(networks.bitcoin.rpc_url).password
    assert password
    name_endpoints(settings, 0, f"http://{KEY}:{KEY}@127.0.0.1:9/{KEY}", networks.bitcoin.rpc_url)
    name_endpoints(settings, 1, f"http://127.0.0.1:9/v3/{KEY}", f"{networks.evm.url}/?key={KEY}")
    url = urlsplit(os.environ["DATABASE_URL"])
    database = urlunsplit(url._replace(path=f"/{connection.settings_dict['NAME']}"))
    secret_key = secrets.token_urlsafe(64)
    done = run(
        *("manage.py", "scan"),
        DATABASE_URL=database,
        NETWORKS_FILE=settings.NETWORKS_FILE,
        LOG_LEVEL="DEBUG",
        SECRET_KEY=secret_key,
    )
    said = done.stdout + done.stderr
    assert done.returncode == 0, said
    assert "[hidden]" in said
    for secret in (KEY, password, secret_key, networks.bitcoin.account_key):
        assert secret not in said


@pytest.mark.case("R104")
def test_what_can_be_a_secret_is_struck_out_wherever_it_stands(
    networks: Devnet, settings: Settings
) -> None:
    name_endpoints(settings, 1, f"https://node.example/v3/{KEY}", f"https://a:p%20q{KEY}@b.example")
    for line in (
        f"retrying /v3/{KEY} soon",
        f"http://127.0.0.1/?key={KEY}",
        f"p q{KEY}",
        f"p%20q{KEY}",
        "postgresql://alatau:short@postgres/alatau",
        f"key {XPUB}.",
    ):
        said = redact(line)
        assert "[hidden]" in said
        for secret in (KEY, "short", XPUB):
            assert secret not in said
    innocent = "https://node.example:8545 bc1qar0srrr7xfkvy5l643lydnw9re59gtzzwf5mdq 0xdAC17F"
    assert redact(innocent) == innocent


def test_outside_a_devnet_a_log_is_json_with_what_was_bound() -> None:
    program = """
import logging, django, structlog; django.setup()
with structlog.contextvars.bound_contextvars(network="bip122:x", invoice="y"):
    structlog.get_logger("z").warning("Қала", url="http://u:hidden@h/")
    logging.getLogger("urllib3").error("plain %s", "words")
    try: raise ValueError("postgresql://u:hidden@h/")
    except ValueError: logging.getLogger("z").exception("broken")
"""
    done = run("-c", program, DEVNET="0", SECRET_KEY=secrets.token_urlsafe(64))
    first, second, third = map(json.loads, done.stderr.splitlines())
    assert "hidden@" not in done.stderr
    bound = {"network": "bip122:x", "invoice": "y"}
    assert first.items() >= (bound | {"event": "Қала", "level": "warning", "logger": "z"}).items()
    assert second.items() >= (bound | {"event": "plain words", "logger": "urllib3"}).items()
    assert "ValueError" in third["exception"]
    assert {"timestamp"} <= first.keys() & second.keys() & third.keys()


@pytest.mark.case("R104")
def test_a_network_shows_no_endpoint_and_no_key(networks: Devnet) -> None:
    shown = repr(registry())
    for network in registry().networks.values():
        assert network.caip2 in shown
        for secret in (*network.endpoints, network.push, network.account_key):
            assert not secret or secret not in shown


@pytest.mark.case("R105")
@pytest.mark.case("R108")
@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("SECRET_KEY", ""),
        ("SECRET_KEY", "a-secret-that-is-too-short"),
        ("SECRET_KEY", "ab" * 40),
        ("SECRET_KEY", "django-insecure-" + "x7Yq2" * 16),
        ("DATABASE_URL", "postgresql://alatau:Postgres@db/alatau"),
        ("DATABASE_URL", "postgresql://alatau@db/alatau"),
        ("REDIS_URL", "redis://redis:6379/0"),
        ("DEBUG", "1"),
    ],
)
def test_a_secret_that_others_can_guess_refuses_to_boot(setting: str, value: str) -> None:
    good = {"DEVNET": "0", "DEBUG": "0", "SECRET_KEY": secrets.token_urlsafe(64)}
    good |= {"DATABASE_URL": "postgresql://a:9vXp-long@db/a", "REDIS_URL": "redis://:9vXp-long@r/0"}
    program = "import django; django.setup()"
    assert run("-c", program, **good).returncode == 0
    done = run("manage.py", "check", **good | {setting: value})
    assert done.returncode == 1
    assert setting in done.stderr
    assert "Traceback" not in done.stderr
    assert len(value) < 3 or value not in done.stderr


def test_the_log_s_own_handler_is_the_only_one() -> None:
    program = """
import logging, django; django.setup()
print([len(logging.getLogger(name).handlers) for name in ("", "django", "django.server", "celery")])
"""
    assert run("-c", program).stdout.strip() == "[1, 0, 0, 0]"
