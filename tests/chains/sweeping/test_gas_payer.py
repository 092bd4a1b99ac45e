"""The gas payer's key: read from the environment, never shown, never the treasury's."""

import json
import pickle
import traceback
from copy import copy
from pathlib import Path

import pytest
from eth_account import Account
from eth_utils.address import to_checksum_address

from chains.evm.payer import GasPayer, GasPayerError, gas_payer_from
from chains.sweeping.planning import SweepRefusedError
from tests.chains.evm.deploying import deploy
from tests.chains.sweeping.conftest import Sweeping

KEY = "0x" + "5a" * 31 + "01"
ADDRESS = Account.from_key(KEY).address


def shown(what: object) -> str:
    return repr(what) + str(what) + repr([what]) + f"{what!r:>200}"


@pytest.mark.case("R104")
@pytest.mark.parametrize("key", [KEY, KEY[2:], KEY + "\n"])
def test_a_key_from_the_environment_shows_its_address_alone(key: str) -> None:
    payer = gas_payer_from({"GAS_PAYER_KEY": key})
    assert payer is not None
    assert payer.address == ADDRESS
    assert shown(payer).count(ADDRESS) == 4
    assert "5a5a" not in shown(payer).lower()
    for take in (pickle.dumps, copy):
        with pytest.raises(TypeError, match="not to be stored"):
            take(payer)


@pytest.mark.case("R104")
@pytest.mark.parametrize("key", ["5a5a", "0x" + "5a" * 33, "5a" * 31 + "zz", "ff" * 32, "00" * 32])
def test_a_key_that_is_none_is_refused_and_not_shown(key: str) -> None:
    with pytest.raises(GasPayerError, match="GAS_PAYER_KEY") as refused:
        gas_payer_from({"GAS_PAYER_KEY": key})
    said = "".join(traceback.format_exception(refused.value))
    assert key not in said


@pytest.mark.case("R104")
def test_a_keystore_opens_with_its_password_alone(tmp_path: Path) -> None:
    keystore, password = tmp_path / "payer.json", tmp_path / "password"
    keystore.write_text(json.dumps(Account.encrypt(KEY, "қарлығаш 5a5a", iterations=2)))
    password.write_text("қарлығаш 5a5a\n")
    named = {"GAS_PAYER_KEYSTORE": str(keystore), "GAS_PAYER_PASSWORD_FILE": str(password)}
    payer = gas_payer_from(named)
    assert payer is not None
    assert payer.address == ADDRESS
    for changed, match in (
        ({"GAS_PAYER_PASSWORD_FILE": ""}, "needs GAS_PAYER_PASSWORD_FILE"),
        ({"GAS_PAYER_PASSWORD_FILE": str(tmp_path / "none")}, "cannot be read"),
        ({"GAS_PAYER_KEYSTORE": str(password)}, "cannot be read"),
        ({"GAS_PAYER_KEY": KEY}, "not both"),
    ):
        with pytest.raises(GasPayerError, match=match):
            gas_payer_from({**named, **changed})
    password.write_text("wrong 5a5a")
    with pytest.raises(GasPayerError, match="does not open") as refused:
        gas_payer_from(named)
    assert "5a5a" not in "".join(traceback.format_exception(refused.value))


def test_no_key_is_no_gas_payer() -> None:
    assert gas_payer_from({}) is None


@pytest.mark.django_db
def test_a_gas_payer_that_owns_the_treasury_is_refused(sweeping: Sweeping) -> None:
    sweeping.pay("USDT", 20_000_000, "one")
    sweeping.settle()
    plan = sweeping.plan()
    owned = deploy(sweeping.devnet.evm, "Owned", sweeping.payer.address)
    safe = deploy(sweeping.devnet.evm, "Safe", sweeping.payer.address)
    for number, treasury in enumerate((sweeping.payer.address, owned.address, safe.address)):
        sweeping.change_network(treasury=treasury)
        sweeping.pay("USDT", 20_000_000, f"n{number}")
        sweeping.settle()
        with pytest.raises(SweepRefusedError, match="owns the treasury"):
            sweeping.plan()
    # The plan of before names another treasury, which the key does not own.
    assert [one.why for one in sweeping.send(plan)] == [""]


@pytest.mark.case("R61")
@pytest.mark.django_db
def test_a_treasury_that_lets_others_act_for_it_is_refused(sweeping: Sweeping) -> None:
    sweeping.pay("USDT", 20_000_000)
    sweeping.settle()
    plan = sweeping.plan()
    thief = "ab" * 20
    treasury = to_checksum_address(sweeping.network.treasury)
    sweeping.devnet.evm.rpc("anvil_setCode", treasury, f"0xef0100{thief}")
    with pytest.raises(SweepRefusedError, match="EIP-7702"):
        sweeping.send(plan)
    with pytest.raises(SweepRefusedError, match="EIP-7702"):
        sweeping.plan()


def test_a_payer_signs_what_recovers_to_its_address() -> None:
    payer = GasPayer(Account.from_key(KEY))
    signed = payer.sign(
        {
            "type": 2,
            "chainId": 31337,
            "nonce": 0,
            "to": ADDRESS,
            "value": 0,
            "data": b"",
            "gas": 21_000,
            "maxFeePerGas": 1,
            "maxPriorityFeePerGas": 1,
        }
    )
    assert Account.recover_transaction(signed.raw) == ADDRESS
