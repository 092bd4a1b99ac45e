"""Addresses from the receiving wallet's public key: BIP-32, BIP-84, BIP-86, BIP-350, SLIP-132."""

import hashlib
import re
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from bip32 import BIP32
from bitcoin.base58 import Base58Error, CBase58Data
from bitcoin.core import Hash160
from bitcoin.segwit_addr import CHARSET, bech32_hrp_expand, bech32_polymod, convertbits
from coincurve import PublicKey, PublicKeyXOnly

from chains.bitcoin.descriptors import (
    Descriptor,
    DescriptorError,
    parse_descriptor,
    write_descriptor,
)

MAINNET: Final = "bip122:000000000019d6689c085ae165831e93"
HRP_BY_NETWORK: Final = {
    MAINNET: "bc",
    "bip122:000000000933ea01ad0ee984209779ba": "tb",
    "bip122:00000000da84f2bafbbc53dee25a72ae": "tb",
    "bip122:00000008819873e925422c1ff0f99f7c": "tb",
    "bip122:0f9188f13cb7b2c71f2a335e3a4fc328": "bcrt",
}
XPUB, TPUB, ZPUB, VPUB = (
    bytes.fromhex(version) for version in ("0488b21e", "043587cf", "04b24746", "045f1cf6")
)
PRIVATE_VERSIONS: Final = {
    bytes.fromhex(version)
    for version in ("0488ade4", "04358394", "04b2430c", "045f18bc", "049d7878", "044a4e28")
} | {bytes.fromhex(version) for version in ("02aa7a99", "0295b005", "024285b5", "02575048")}
"""xprv, tprv and their SLIP-132 aliases, of several signers too."""
WIF_VERSIONS: Final = {0x80, 0xEF}
SPENDS: Final = re.compile(
    # an extended private key, a BIP-38 key, a codex32 share (BIP-93), 32 to 64 bytes of hex
    r"[a-zA-Z]prv|\b6P[1-9A-HJ-NP-Za-km-z]{56}\b|\bms1|\b(?:[0-9a-fA-F]{64}|[0-9a-fA-F]{128})\b"
)
ACCOUNT_DEPTH: Final = 3
HARDENED: Final = 0x80000000
KEY_BYTES: Final = 78
BECH32M: Final = 0x2BC830A3


class ScriptKind(StrEnum):
    """What a receiving wallet's addresses are, by their name in a descriptor."""

    P2WPKH = "wpkh"
    P2TR = "tr"


PURPOSES: Final = {ScriptKind.P2WPKH: 84, ScriptKind.P2TR: 86}
SCRIPT_HEADS: Final = {ScriptKind.P2WPKH: b"\x00\x14", ScriptKind.P2TR: b"\x51\x20"}
"""What the scriptPubKeys of a kind begin with (BIP-141): witness version and program length."""


class AccountKeyError(ValueError):
    """The text is no usable account key; the message never repeats it."""


class PrivateKeyRefusedError(AccountKeyError):
    """The text is a key that can spend; it is refused and never shown or logged (R34)."""


@dataclass(frozen=True, slots=True)
class AccountKey:
    """An account's public key (m/purpose'/coin'/account') on one network.

    ``fingerprint`` is the same for every way to write the key; ``descriptor`` is one of them, with
    its checksum. Neither key nor descriptor is shown in a representation (R94).
    """

    key: BIP32 = field(repr=False, compare=False)
    hrp: str
    kind: ScriptKind
    fingerprint: str
    descriptor: str = field(repr=False)


def parse_account_key(text: str, *, network: str) -> AccountKey:
    """Read an account's public key for a CAIP-2 network.

    It is an xpub or zpub (tpub or vpub on test networks) of depth 3, which receives at P2WPKH, or a
    descriptor ``wpkh(…/0/*)`` or ``tr(…/0/*)`` with its checksum. Raises PrivateKeyRefusedError for
    anything that can spend, AccountKeyError for anything else that is not such a key of a wallet
    of this network.
    """
    cleaned = text.strip()
    _refuse_what_can_spend(cleaned)
    if "(" not in cleaned:
        written = Descriptor(kind=ScriptKind.P2WPKH, key=cleaned, root="", path=())
        return _account(written, network, versions=_versions(network))
    try:
        written = parse_descriptor(cleaned)
    except DescriptorError as error:
        raise AccountKeyError(str(error)) from None
    return _account(written, network, versions=_versions(network)[:1])


def receive_script(account: AccountKey, index: int) -> bytes:
    """The scriptPubKey of the receiving address ``index`` (path 0/index)."""
    public_key = account.key.get_pubkey_from_path([0, index])
    if account.kind is ScriptKind.P2WPKH:
        return SCRIPT_HEADS[account.kind] + bytes(Hash160(public_key))
    # BIP-86: the output key commits to an empty tree, so that nothing but a signature spends it.
    internal = PublicKeyXOnly(public_key[1:])
    internal.tweak_add(_tagged_hash("TapTweak", public_key[1:]))
    return SCRIPT_HEADS[account.kind] + bytes(internal.format())


def address_of(account: AccountKey, script: bytes) -> str:
    """The address of one of the account's scripts: BIP-173 for version 0, BIP-350 for 1."""
    version = 0 if script[0] == 0 else script[0] - 0x50
    values = [version, *convertbits(script[2:], 8, 5)]
    checked = bech32_polymod([*bech32_hrp_expand(account.hrp), *values, 0, 0, 0, 0, 0, 0])
    checksum = checked ^ (1 if version == 0 else BECH32M)
    values += [checksum >> 5 * (5 - place) & 31 for place in range(6)]
    return account.hrp + "1" + "".join(CHARSET[value] for value in values)


def _refuse_what_can_spend(text: str) -> None:
    words = [len(word) for word in text.split()]
    inside = re.findall(r"[1-9A-HJ-NP-Za-km-z]{51,120}", text)
    if (
        SPENDS.search(text)
        or (len(words) > 1 and "(" not in text)
        or any(_is_private(one) for one in inside)
    ):
        raise PrivateKeyRefusedError(
            "This is a private key or a seed phrase. Nothing was kept of it. "
            "Export the account's extended PUBLIC key (xpub or zpub) or its descriptor instead."
        )


def _is_private(text: str) -> bool:
    raw = _base58(text)
    return raw is not None and (raw[:4] in PRIVATE_VERSIONS or raw[0] in WIF_VERSIONS)


def _account(written: Descriptor, network: str, *, versions: tuple[bytes, ...]) -> AccountKey:
    raw = _base58(written.key)
    if raw is None:
        raise AccountKeyError("This is not an extended public key: its checksum is wrong.")
    hrp = HRP_BY_NETWORK.get(network)
    if hrp is None or raw[:4] not in versions or len(raw) != KEY_BYTES:
        raise AccountKeyError(
            "This extended public key belongs to another network or address type."
        )
    child = int.from_bytes(raw[9:13], "big") - HARDENED
    if raw[4] != ACCOUNT_DEPTH or child < 0:
        raise AccountKeyError("This is not an account key (m/84'/coin'/account', depth 3).")
    kind = ScriptKind(written.kind)
    standard = (PURPOSES[kind], 0 if network == MAINNET else 1, child)
    if written.root and written.path != standard:
        raise AccountKeyError(
            f"The key's origin is not m/{standard[0]}'/{standard[1]}'/{standard[2]}', where a "
            f"wallet looks for {written.kind} addresses of this network and key."
        )
    try:
        PublicKey(raw[45:])
    except ValueError:
        raise AccountKeyError("This extended public key holds no public key.") from None
    plain = str(CBase58Data.from_bytes(versions[0][1:] + raw[4:], versions[0][0]))
    canonical = Descriptor(kind=kind, key=plain, root=written.root, path=written.path)
    return AccountKey(
        key=BIP32.from_xpub(plain),
        hrp=hrp,
        kind=kind,
        fingerprint=hashlib.sha256(raw[13:]).hexdigest(),
        descriptor=write_descriptor(canonical),
    )


def _versions(network: str) -> tuple[bytes, ...]:
    """The versions of a public key on a network: plain, and SLIP-132's for P2WPKH."""
    return (XPUB, ZPUB) if network == MAINNET else (TPUB, VPUB)


def _base58(text: str) -> bytes | None:
    try:
        decoded = CBase58Data(text)
    except (Base58Error, ValueError, IndexError):
        return None
    return bytes([decoded.nVersion]) + bytes(decoded)


def _tagged_hash(tag: str, payload: bytes) -> bytes:
    """BIP-340's tagged hash."""
    name = hashlib.sha256(tag.encode()).digest()
    return hashlib.sha256(name + name + payload).digest()
