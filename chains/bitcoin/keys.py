"""Addresses from the receiving wallet's extended public key: BIP-32, BIP-84, BIP-173, SLIP-132."""

import hashlib
from dataclasses import dataclass
from typing import Final

from bip32 import BIP32
from bitcoin.base58 import Base58Error, CBase58Data
from bitcoin.core import Hash160
from bitcoin.segwit_addr import encode as bech32_encode

MAINNET: Final = "bip122:000000000019d6689c085ae165831e93"
HRP_BY_NETWORK: Final = {
    MAINNET: "bc",
    "bip122:000000000933ea01ad0ee984209779ba": "tb",
    "bip122:00000008819873e925422c1ff0f99f7c": "tb",
    "bip122:0f9188f13cb7b2c71f2a335e3a4fc328": "bcrt",
}
XPUB, TPUB, ZPUB, VPUB = (
    bytes.fromhex(version) for version in ("0488b21e", "043587cf", "04b24746", "045f1cf6")
)
PRIVATE_VERSIONS: Final = {
    bytes.fromhex(version)
    for version in ("0488ade4", "04358394", "04b2430c", "045f18bc", "049d7878", "044a4e28")
}
ACCOUNT_DEPTH: Final = 3
HARDENED: Final = 0x80000000


class AccountKeyError(ValueError):
    """The text is no usable account key; the message never repeats it."""


class PrivateKeyRefusedError(AccountKeyError):
    """The text is a key that can spend; it is refused and never shown or logged (R34)."""


@dataclass(frozen=True, slots=True)
class AccountKey:
    """A BIP-84 account's public key (m/84'/coin'/account') on one network."""

    key: BIP32
    hrp: str
    fingerprint: str


def parse_account_key(text: str, *, network: str) -> AccountKey:
    """Read an xpub or zpub (tpub or vpub on test networks) of depth 3 for a CAIP-2 network.

    Raises PrivateKeyRefusedError for anything that can spend, AccountKeyError for anything else
    that is not the account key of a wallet of this network.
    """
    cleaned = text.strip()
    if len(cleaned.split()) > 1 or cleaned[1:4] == "prv":
        raise PrivateKeyRefusedError(
            "This is a private key or a seed phrase. Nothing was kept of it. "
            "Export the account's extended PUBLIC key (xpub or zpub) instead."
        )
    try:
        decoded = CBase58Data(cleaned)
    except (Base58Error, ValueError, IndexError):
        raise AccountKeyError(
            "This is not an extended public key: its checksum is wrong."
        ) from None
    raw = bytes([decoded.nVersion]) + bytes(decoded)
    version = raw[:4]
    # 0x80 and 0xef start a single private key in wallet import format.
    if version in PRIVATE_VERSIONS or raw[0] in {0x80, 0xEF}:
        raise PrivateKeyRefusedError(
            "This is a private key. Export the extended PUBLIC key instead."
        )
    hrp = HRP_BY_NETWORK.get(network)
    expected = {XPUB, ZPUB} if network == MAINNET else {TPUB, VPUB}
    if hrp is None or version not in expected or len(raw) != 78:
        raise AccountKeyError(
            "This extended public key belongs to another network or address type."
        )
    if raw[4] != ACCOUNT_DEPTH or int.from_bytes(raw[9:13], "big") < HARDENED:
        raise AccountKeyError("This is not an account key (m/84'/coin'/account', depth 3).")
    plain = (XPUB if network == MAINNET else TPUB) + raw[4:]
    key = BIP32.from_xpub(_base58check(plain))
    return AccountKey(key=key, hrp=hrp, fingerprint=hashlib.sha256(raw[13:]).hexdigest())


def receive_script(account: AccountKey, index: int) -> bytes:
    """Return the P2WPKH scriptPubKey of the receiving address ``index`` (path 0/index)."""
    public_key = account.key.get_pubkey_from_path([0, index])
    return b"\x00\x14" + bytes(Hash160(public_key))


def address_of(account: AccountKey, script: bytes) -> str:
    """Return the BIP-173 address of a P2WPKH script on the account's network."""
    return str(bech32_encode(account.hrp, 0, list(script[2:])))


def _base58check(payload: bytes) -> str:
    return str(CBase58Data.from_bytes(payload[1:], payload[0]))
