"""Account keys: BIP-84's own vectors, bitcoind's own derivation, and what is refused."""

import pytest

from alatau_pay.devnet.bitcoind import CAIP2
from alatau_pay.devnet.nodes import Devnet
from chains.bitcoin.keys import (
    MAINNET,
    AccountKeyError,
    PrivateKeyRefusedError,
    address_of,
    parse_account_key,
    receive_script,
)

ZPUB = (
    "zpub6rFR7y4Q2AijBEqTUquhVz398htDFrtymD9xYYfG1m4wAcvPhXNfE3EfH1r1ADqtfSdVCToUG868RvUUkgDKf31m"
    "GDtKsAYz2oz2AGutZYs"
)
ZPRV = (
    "zprvAdG4iTXWBoARxkkzNpNh8r6Qag3irQB8PzEMkAFeTRXxHpbF9z4QgEvBRmfvqWvGp42t42nvgGpNgYSJA9iefm1yY"
    "NZKEm7z6qUWCroSQnE"
)


@pytest.mark.case("R35")
@pytest.mark.parametrize(
    ("index", "address"),
    [
        (0, "bc1qcr8te4kr609gcawutmrza0j4xv80jy8z306fyu"),
        (1, "bc1qnjg0jd8228aq7egyzacy8cys3knf9xvrerkf9g"),
    ],
)
def test_bip84_vectors(index: int, address: str) -> None:
    account = parse_account_key(ZPUB, network=MAINNET)
    assert address_of(account, receive_script(account, index)) == address


@pytest.mark.case("R35")
def test_bitcoind_derives_the_same(devnet: Devnet) -> None:
    account = parse_account_key(devnet.bitcoin.account_key, network=CAIP2)
    descriptor = devnet.bitcoin.call(
        "getdescriptorinfo", f"wpkh({devnet.bitcoin.account_key}/0/*)"
    )["descriptor"]
    theirs = devnet.bitcoin.call("deriveaddresses", descriptor, [0, 20])
    assert [address_of(account, receive_script(account, index)) for index in range(21)] == theirs


@pytest.mark.case("R34")
@pytest.mark.parametrize(
    "secret",
    [
        ZPRV,
        " ".join(["abandon"] * 11 + ["about"]),
        "5HueCGU8rMjxEXxiPuD5BDku4MkFqeZyd4dZ1jvhTVqvbTLvyTJ",
    ],
)
def test_what_can_spend_is_refused_and_not_repeated(secret: str) -> None:
    with pytest.raises(PrivateKeyRefusedError) as refused:
        parse_account_key(secret, network=MAINNET)
    assert secret not in str(refused.value)
    assert secret[:12] not in repr(refused.value)


@pytest.mark.parametrize("text", ["", "hello", ZPUB[:-1] + "t", ZPUB[:40]])
def test_what_is_no_account_key_is_refused(text: str) -> None:
    with pytest.raises(AccountKeyError):
        parse_account_key(text, network=MAINNET)


def test_a_key_of_another_network_is_refused() -> None:
    with pytest.raises(AccountKeyError, match="another network"):
        parse_account_key(ZPUB, network=CAIP2)
