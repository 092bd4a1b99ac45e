"""``manage.py sweep`` as an operator meets it."""

import re

import pytest
from django.core.management import CommandError, call_command

from alatau_pay.sweeps import gas_payer
from chains.models import Sweep
from settlement.models import JournalEntry
from tests.chains.sweeping.conftest import Sweeping

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def key(sweeping: Sweeping, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GAS_PAYER_KEY", sweeping.key)


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[str, str]:
    call_command("sweep", *arguments)
    said = capsys.readouterr()
    return said.out, said.err


@pytest.mark.case("R104")
def test_a_plan_is_shown_sent_by_its_id_and_followed(
    sweeping: Sweeping, capsys: pytest.CaptureFixture[str]
) -> None:
    sweeping.pay("USDT", 30_000_000)
    sweeping.pay("USDT", 20_500_000, "two")
    sweeping.pay("ETH", 10**17, "three")
    sweeping.settle()

    out, err = run(capsys, "--plan")
    assert err == ""
    lines = [re.split(r"\s{2,}", line.strip()) for line in out.splitlines()]
    assert ["network", "asset", "addresses", "total", "gas", "cost"] in lines
    ether, usdt = (
        next(line for line in lines if line[:2] == ["Ethereum", symbol])
        for symbol in ("ETH", "USDT")
    )
    assert usdt[2:4] == ["2", "50.500000"]
    assert ether[2:4] == ["1", "0.100000000000000000"]
    assert 40_000 < int(ether[4]) < 200_000
    assert f"the gas payer {sweeping.payer.address} has 1." in out
    assert "Nothing was sent." in out
    assert sweeping.balance("ETH", sweeping.payer.address) == 10**18
    (plan,) = {str(sweep.plan) for sweep in Sweep.objects.all()}
    assert out.rstrip().endswith(f"manage.py sweep --send {plan}")

    sent, _err = run(capsys, "--send", plan)
    for attempt in Sweep.objects.values_list("attempts__txid", flat=True):
        assert f"sent  0x{attempt}" in sent
    sweeping.settle()
    followed, _err = run(capsys, "--follow")
    assert "mined=2, ended=2" in followed
    assert "booked=2" in followed
    assert sweeping.in_treasury("USDT") == 50_500_000
    assert JournalEntry.objects.count() == 4

    out, _err = run(capsys, "--plan", "--network", sweeping.network.caip2)
    assert "There is nothing to sweep." in out
    assert not any(sweeping.key in text for text in (out, sent, followed))
    with pytest.raises(CommandError, match="sent before"):
        call_command("sweep", "--send", plan)


def test_what_is_left_and_a_poor_payer_are_said(
    sweeping: Sweeping, capsys: pytest.CaptureFixture[str]
) -> None:
    to = sweeping.pay("USDT", 30_000_000)
    sweeping.settle()
    sweeping.change(cost_bp_max=1)
    sweeping.devnet.evm.rpc("anvil_setBalance", sweeping.payer.address, hex(10**12))
    out, err = run(capsys, "--plan")
    assert f"too dear: 30.000000 USDT at {to}: gas costs" in err
    assert "below 0.1: top it up." in err
    assert "There is nothing to sweep." in out
    sweeping.change(cost_bp_max=1_000)
    run(capsys, "--plan")
    plan = Sweep.objects.get().plan
    with pytest.raises(CommandError, match="Not all of the plan"):
        call_command("sweep", "--send", str(plan))
    assert "not sent" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        ((), "required"),
        (("--plan", "--follow"), "not allowed"),
        (("--send", "now"), "invalid UUID"),
        (("--send", "00000000-0000-0000-0000-000000000001"), "is not known"),
        (("--plan", "--network", "eip155:1"), "names no network 'eip155:1'"),
        (
            ("--plan", "--network", "bip122:0f9188f13cb7b2c71f2a335e3a4fc328"),
            "no 'sweeping' policy",
        ),
    ],
)
def test_what_cannot_be_done_is_said(arguments: tuple[str, ...], match: str) -> None:
    with pytest.raises(CommandError, match=match):
        call_command("sweep", *arguments)


@pytest.mark.case("R104")
def test_a_missing_or_wrong_key_is_named_and_not_shown(
    sweeping: Sweeping, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.delenv("GAS_PAYER_KEY")
    with pytest.raises(CommandError, match="Set GAS_PAYER_KEY"):
        call_command("sweep", "--plan")
    assert gas_payer() is None
    monkeypatch.setenv("GAS_PAYER_KEY", f"{sweeping.key}00")
    with pytest.raises(CommandError, match="GAS_PAYER_KEY is no private key") as refused:
        call_command("sweep", "--plan")
    assert sweeping.key not in str(refused.value)
    # A worker goes on without it, and says so.
    assert gas_payer() is None
    assert "no gas payer" in caplog.text
    assert sweeping.key not in caplog.text
