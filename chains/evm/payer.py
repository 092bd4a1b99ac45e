"""The account that pays for gas: the only key on the server, and it can take nobody's coins.

A forwarder obeys its factory alone and pays only the treasury baked into its address, so whoever
steals this key can waste the gas money and nothing else. The key comes from the environment:
GAS_PAYER_KEY, or an encrypted keystore file (Web3 Secret Storage, version 3) named by
GAS_PAYER_KEYSTORE with its password in the file GAS_PAYER_PASSWORD_FILE. It is never shown (R104).
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from django.views.decorators.debug import sensitive_variables
from eth_account import Account
from eth_account.signers.local import LocalAccount
from typing_extensions import override


class GasPayerError(Exception):
    """The gas payer's key cannot be used; the message names the setting and shows no secret."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SignedTransaction:
    """A transaction ready to be sent: its hash as lower-case hex without 0x, and its bytes."""

    txid: str
    raw: bytes


class GasPayer:
    """An account that signs; it shows its address and nothing else."""

    __slots__ = ("__account", "address")

    def __init__(self, account: LocalAccount) -> None:
        """Keep the account; ``address`` is its EIP-55 text."""
        self.__account = account
        self.address = str(account.address)

    @override
    def __repr__(self) -> str:
        return f"GasPayer({self.address})"

    @override
    def __reduce__(self) -> str:
        """Refuse to be pickled: a key stays in the process that read it."""
        raise TypeError("A gas payer is not to be stored or sent.")

    def sign(self, transaction: Mapping[str, Any]) -> SignedTransaction:
        """Sign an EIP-1559 transaction."""
        signed = self.__account.sign_transaction(dict(transaction))
        return SignedTransaction(txid=bytes(signed.hash).hex(), raw=bytes(signed.raw_transaction))


@sensitive_variables()
def gas_payer_from(environment: Mapping[str, str]) -> GasPayer | None:
    """The gas payer that an environment names, or None where it names none.

    Raises GasPayerError for a key that is none, or for two at once.
    """
    key = environment.get("GAS_PAYER_KEY", "")
    keystore = environment.get("GAS_PAYER_KEYSTORE", "")
    if key and keystore:
        raise GasPayerError("Set GAS_PAYER_KEY or GAS_PAYER_KEYSTORE, not both.")
    if key:
        return _of_key(key.strip(), "GAS_PAYER_KEY")
    if keystore:
        password_file = environment.get("GAS_PAYER_PASSWORD_FILE", "")
        if not password_file:
            raise GasPayerError("GAS_PAYER_KEYSTORE needs GAS_PAYER_PASSWORD_FILE.")
        return _of_keystore(Path(keystore), Path(password_file))
    return None


@sensitive_variables()
def _of_key(key: str | bytes, setting: str) -> GasPayer:
    try:
        account = Account.from_key(key)
    except Exception:  # noqa: BLE001 -- whatever was wrong with it, its text may hold the key
        raise GasPayerError(f"{setting} is no private key of 32 bytes in hex.") from None
    return GasPayer(account)


@sensitive_variables()
def _of_keystore(path: Path, password_file: Path) -> GasPayer:
    try:
        keystore = json.loads(path.read_text())
        password = password_file.read_text().rstrip("\r\n")
    except (OSError, ValueError):
        raise GasPayerError(
            "GAS_PAYER_KEYSTORE or GAS_PAYER_PASSWORD_FILE cannot be read."
        ) from None
    try:
        key = bytes(Account.decrypt(keystore, password))
    except Exception:  # noqa: BLE001 -- whatever was wrong with it, its text may hold a secret
        raise GasPayerError(
            "GAS_PAYER_KEYSTORE does not open with the password in GAS_PAYER_PASSWORD_FILE."
        ) from None
    return _of_key(key, "GAS_PAYER_KEYSTORE")
