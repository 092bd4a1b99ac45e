"""Receiving wallets: every spelling of a key, whose it is, and what its owner gets to see."""

import io
import json
import re
import shlex
import threading
from dataclasses import replace

import pytest
from bip32 import BIP32
from bitcoin.base58 import CBase58Data
from django.core.management import CommandError, call_command
from django.db import IntegrityError, connection, transaction

from alatau_pay.devnet.bitcoind import CAIP2, BitcoinDevnet
from alatau_pay.devnet.nodes import Devnet
from chains.addresses import allocate_address
from chains.bitcoin.descriptors import DescriptorError, descriptor_checksum, parse_descriptor
from chains.bitcoin.keys import (
    MAINNET,
    PURPOSES,
    AccountKeyError,
    PrivateKeyRefusedError,
    ScriptKind,
    address_of,
    parse_account_key,
    receive_script,
)
from chains.models import Address, ReceivingWallet
from chains.networks import RegistryError, registry
from chains.wallets import (
    GAP_LIMIT,
    OPERATOR,
    SKIP_MAX,
    WalletError,
    WalletTakenError,
    gaps,
    register_wallet,
    skip_indices,
)
from tests.chains.bitcoin.conftest import Gateway, gateway_on
from tests.chains.test_keys import ZPRV, ZPUB

BIP86_XPUB = (
    "xpub6BgBgsespWvERF3LHQu6CnqdvfEvtMcQjYrcRzx53QJjSxarj2afYWcLteoGVky7D3UKDP9QyrLprQ3VCECoY49yf"
    "dDEHGCtMMj92pReUsQ"
)
BIP86_XPRV = (
    "xprv9xgqHN7yz9MwCkxsBPN5qetuNdQSUttZNKw1dcYTV4mkaAFiBVGQziHs3NRSWMkCzvgjEe3n9xV8oYywvM8at9yRq"
    "yaZVz6TYYhX98VjsUk"
)
BIP39 = " ".join(["abandon"] * 11 + ["about"])
VERSIONS = {"zpub": "04b24746", "xpub": "0488b21e", "tpub": "043587cf", "vpub": "045f1cf6"}


def spelled(key: str, version: str) -> str:
    """The same key under another version's name (SLIP-132)."""
    raw = bytes(CBase58Data(key))[3:]
    start = bytes.fromhex(VERSIONS[version])
    return str(CBase58Data.from_bytes(start[1:] + raw, start[0]))


def described(body: str) -> str:
    return f"{body}#{descriptor_checksum(body)}"


def addresses_of(key: str, network: str, count: int) -> list[str]:
    account = parse_account_key(key, network=network)
    return [address_of(account, receive_script(account, index)) for index in range(count)]


@pytest.mark.case("R35")
@pytest.mark.parametrize(
    ("body", "first", "second"),
    [
        (
            f"tr([73c5da0a/86'/0'/0']{BIP86_XPUB}/0/*)",
            "bc1p5cyxnuxmeuwuvkwfem96lqzszd02n6xdcjrs20cac6yqjjwudpxqkedrcr",
            "bc1p4qhjn9zdvkux4e44uhx8tc55attvtyu358kutcqkudyccelu0was9fqzwh",
        ),
        (
            f"wpkh([73c5da0a/84h/0h/0h]{spelled(ZPUB, 'xpub')}/<0;1>/*)",
            "bc1qcr8te4kr609gcawutmrza0j4xv80jy8z306fyu",
            "bc1qnjg0jd8228aq7egyzacy8cys3knf9xvrerkf9g",
        ),
    ],
    ids=["BIP-86", "BIP-84"],
)
def test_the_standards_own_vectors(body: str, first: str, second: str) -> None:
    assert addresses_of(described(body), MAINNET, 2) == [first, second]


@pytest.mark.case("R35")
@pytest.mark.parametrize("kind", ScriptKind)
def test_bitcoind_derives_the_same_and_reads_our_descriptor(
    kind: ScriptKind, networks: Devnet
) -> None:
    node = networks.bitcoin
    theirs = next(
        one["desc"]
        for one in node.call("listdescriptors", wallet="treasury")["descriptors"]
        if one["desc"].startswith(f"{kind}(") and not one["internal"]
    )
    account = parse_account_key(theirs, network=CAIP2)
    assert account.kind is kind
    for descriptor in (theirs, account.descriptor):
        derived = node.call("deriveaddresses", descriptor, [0, 60])
        assert addresses_of(theirs, CAIP2, 61) == derived
    assert parse_account_key(account.descriptor, network=CAIP2) == account


def test_the_checksum_is_that_of_bip_380_and_of_bitcoind(networks: Devnet) -> None:
    assert descriptor_checksum("raw(deadbeef)") == "89f8spxm"
    body = f"wpkh({networks.bitcoin.account_key}/0/*)"
    assert networks.bitcoin.call("getdescriptorinfo", body)["descriptor"] == described(body)


@pytest.mark.parametrize(
    "text",
    [
        "raw(deadbeef)",
        "raw(deadbeef)#",
        "raw(deadbeef)#89f8spxmx",
        "raw(deadbeef)#89f8spx",
        "raw(dedbeef)#89f8spxm",
        "raw(deadbeef)##9f8spxm",
        "raw(Ü)#00000000",
        "raw(deadbeef)#89f8spxm",
    ],
)
def test_descriptors_that_bip_380_or_we_refuse(text: str) -> None:
    with pytest.raises(DescriptorError):
        parse_descriptor(text)


@pytest.mark.parametrize(
    "body",
    [
        f"wpkh({BIP86_XPUB}/1/*)",
        f"wpkh({BIP86_XPUB}/0/7)",
        f"wpkh({BIP86_XPUB}/*)",
        f"wpkh({BIP86_XPUB}/0/*h)",
        f"wpkh({BIP86_XPUB})",
        f"pkh({BIP86_XPUB}/0/*)",
        f"sh(wpkh({BIP86_XPUB}/0/*))",
        f"wsh(multi(1,{BIP86_XPUB}/0/*))",
        f"tr({BIP86_XPUB}/0/*,pk({BIP86_XPUB}/0/*))",
        f"wpkh({spelled(BIP86_XPUB, 'zpub')}/0/*)",
        f"wpkh({spelled(BIP86_XPUB, 'tpub')}/0/*)",
        f"wpkh([73c5da0a/86h/0h/0h]{BIP86_XPUB}/0/*)",
        f"tr([73c5da0a/84h/0h/0h]{BIP86_XPUB}/0/*)",
        f"tr([73c5da0a/86h/1h/0h]{BIP86_XPUB}/0/*)",
        f"tr([73c5da0a/86h/0h/1h]{BIP86_XPUB}/0/*)",
        f"tr([73c5da0a/86h/0h]{BIP86_XPUB}/0/*)",
        f"tr([73c5da0a/86/0/0]{BIP86_XPUB}/0/*)",
    ],
)
def test_what_is_no_receiving_descriptor_of_an_account_is_refused(body: str) -> None:
    with pytest.raises(AccountKeyError) as refused:
        parse_account_key(described(body), network=MAINNET)
    assert BIP86_XPUB[4:20] not in str(refused.value)


@pytest.mark.parametrize("path", ["m", "m/84h", "m/84h/0h", "m/84h/0h/0", "m/84h/0h/0h/0"])
def test_a_key_of_another_depth_is_refused(path: str) -> None:
    key = BIP32.from_seed(b"\x07" * 32).get_xpub_from_path(path)
    with pytest.raises(AccountKeyError, match="account key"):
        parse_account_key(key, network=MAINNET)


def test_a_key_that_is_no_point_of_the_curve_is_refused() -> None:
    raw = bytes(CBase58Data(BIP86_XPUB))
    broken = str(CBase58Data.from_bytes(raw[:44] + b"\x02" + b"\xff" * 32, 4))
    with pytest.raises(AccountKeyError, match="no public key"):
        parse_account_key(broken, network=MAINNET)


@pytest.mark.case("R34")
@pytest.mark.parametrize(
    "secret",
    [
        ZPRV,
        BIP86_XPRV,
        BIP39,
        f"wpkh({BIP86_XPRV}/0/*)",
        described(f"tr([73c5da0a/86h/0h/0h]{BIP86_XPRV}/0/*)"),
        f"wpkh([73c5da0a/84h/0h/0h]{BIP86_XPUB}/0/*) {BIP86_XPRV}",
        described("wpkh(5HueCGU8rMjxEXxiPuD5BDku4MkFqeZyd4dZ1jvhTVqvbTLvyTJ)"),
        "5HueCGU8rMjxEXxiPuD5BDku4MkFqeZyd4dZ1jvhTVqvbTLvyTJ",
        "KwdMAjGmerYanjeui5SHS7JkmpZvVipYvB2LJGU1ZxJwYvP98617",
        "6PRVWUbkzzsbcVac2qwfssoUJAN1Xhrg6bNk8J7Nzm5H7kxEbn2Nh2ZoGg",
        "1e99423a4ed27608a15a2616a2b0e9e52ced330ac530edcc32c8ffc6a526aedd",
        "ms10testsxxxxxxxxxxxxxxxxxxxxxxxxxx4nzvca9cmczlw",
        BIP86_XPRV[:-1] + "z",
    ],
)
def test_nothing_that_can_spend_is_taken_or_repeated(
    secret: str, networks: Devnet, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(PrivateKeyRefusedError) as refused:
        parse_account_key(secret, network=MAINNET)
    monkeypatch.setattr("sys.stdin", io.StringIO(secret + "\n"))
    with pytest.raises(CommandError) as told:
        call_command("wallet", "check")
    pieces = re.findall(r"[0-9A-Za-z]{12,}", secret)
    for said in (str(refused.value), repr(refused.value), str(told.value)):
        assert not any(piece[:12] in said for piece in pieces)
        assert "abandon" not in said


@pytest.mark.django_db
@pytest.mark.case("R94")
def test_a_public_key_is_in_no_representation(gateway: Gateway, bitcoin: BitcoinDevnet) -> None:
    gateway.address()
    account = parse_account_key(gateway.network.account_key, network=CAIP2)
    key = gateway.network.account_key[10:30]
    for shown in (account, gateway.network, ReceivingWallet.objects.get(), Address.objects.get()):
        assert key not in f"{shown!r} {shown}"
    assert "devnet:" not in repr(gateway.network)


@pytest.mark.django_db
@pytest.mark.case("R33")
@pytest.mark.parametrize("spelling", ["xpub", "zpub", "descriptor", "descriptor with an origin"])
def test_one_key_in_any_spelling_has_one_owner(spelling: str) -> None:
    aliases = {
        "xpub": spelled(ZPUB, "xpub"),
        "zpub": ZPUB,
        "descriptor": described(f"wpkh({spelled(ZPUB, 'xpub')}/0/*)"),
        "descriptor with an origin": described(
            f"wpkh([73c5da0a/84'/0'/0']{spelled(ZPUB, 'xpub')}/0/*)"
        ),
    }
    register_wallet(network=MAINNET, key=aliases[spelling], owner="aigul")
    for alias in aliases.values():
        with pytest.raises(WalletTakenError, match="another owner"):
            register_wallet(network=MAINNET, key=alias, owner="stranger")
        register_wallet(network=MAINNET, key=alias, owner="aigul")
    assert ReceivingWallet.objects.count() == 1


@pytest.mark.django_db
@pytest.mark.case("R33")
def test_one_key_serves_one_network_and_one_kind_of_address() -> None:
    signet, regtest = "bip122:00000008819873e925422c1ff0f99f7c", CAIP2
    tpub = spelled(ZPUB, "tpub")
    register_wallet(network=signet, key=tpub, owner=OPERATOR)
    with pytest.raises(WalletTakenError, match=signet):
        register_wallet(network=regtest, key=spelled(ZPUB, "vpub"), owner=OPERATOR)
    with pytest.raises(WalletTakenError, match=signet):
        register_wallet(network=MAINNET, key=ZPUB, owner=OPERATOR)
    with pytest.raises(WalletTakenError, match="its own key"):
        register_wallet(network=signet, key=described(f"tr({tpub}/0/*)"), owner=OPERATOR)
    row = ReceivingWallet.objects.get()
    row.pk = None
    with pytest.raises(IntegrityError, match="fingerprint"), transaction.atomic():
        row.save(force_insert=True)


@pytest.mark.case("R33")
def test_a_registry_that_names_one_key_twice_is_refused(networks: Devnet) -> None:
    from chains.registry_checks import check_registry

    listed = registry()
    regtest = listed.networks[CAIP2]
    tpub = parse_account_key(regtest.account_key, network=CAIP2).key.get_xpub()
    signet = replace(
        regtest,
        caip2="bip122:00000008819873e925422c1ff0f99f7c",
        account_key=spelled(tpub, "vpub"),
        is_devnet=False,
    )
    assets = listed.assets_on(CAIP2)
    coin = replace(assets[0], caip19=f"{signet.caip2}/slip44:1")
    with pytest.raises(RegistryError, match="same account_key"):
        check_registry(networks=[regtest, signet], assets=[*assets, coin])


@pytest.mark.django_db
@pytest.mark.parametrize("kind", ScriptKind)
def test_payments_to_both_kinds_of_address_are_found(kind: ScriptKind, networks: Devnet) -> None:
    node = networks.bitcoin
    seed = BIP32.from_seed(b"\x11" * 31 + bytes([PURPOSES[kind]]), "test")
    body = f"{kind}({seed.get_xpub_from_path(f'm/{PURPOSES[kind]}h/1h/0h')}/0/*)"
    gateway = gateway_on(node, account_key=described(body))
    gateway.scan()
    assert gateway.address().startswith({"wpkh": "bcrt1q", "tr": "bcrt1p"}[kind])
    node.pay(address=gateway.address(), value_sat=50_000)
    gateway.scan()
    assert gateway.states() == ["seen"]
    node.mine(2)
    gateway.scan()
    assert gateway.states() == ["final"]


@pytest.mark.django_db
@pytest.mark.case("R31")
@pytest.mark.parametrize("kind", ScriptKind)
def test_the_gap_is_told_and_its_line_shows_the_owner_every_coin(
    kind: ScriptKind,
    networks: Devnet,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The devnet's wallets look 100 addresses ahead and miss the 130th; after the line none is."""
    node, count = networks.bitcoin, 130
    seed = BIP32.from_seed(networks.bitcoin.peer_address.encode().ljust(32), "test")
    body = f"{kind}({seed.get_xpub_from_path(f'm/{PURPOSES[kind]}h/1h/7h')}/0/*)"
    gateway = gateway_on(node, account_key=described(body))
    gateway.scan()
    for index in range(count):
        gateway.address(f"n{index}")
        assert ("gap limit" in caplog.text) == (index >= GAP_LIMIT)
        caplog.clear()
    node.pay(address=gateway.address("n3"), value_sat=30_000)
    node.pay(address=gateway.address(f"n{count - 1}"), value_sat=40_000)
    gateway.scan()
    (unpaid,) = gaps()
    assert (unpaid.last_paid_index, unpaid.gap) == (None, count)  # a mempool proves nothing
    node.mine(1)
    gateway.scan()
    (gap,) = gaps()
    assert (gap.last_paid_index, gap.gap, gap.hides_coins) == (count - 1, 0, False)
    gateway.address("next")
    assert "gap limit" not in caplog.text

    name = f"watch-{gap.fingerprint[:8]}"
    node.call("createwallet", name, True, True)
    narrow = [json.loads(gap.import_request)[0] | {"range": [0, GAP_LIMIT - 1]}]
    assert node.call("importdescriptors", narrow, wallet=name)[0]["success"]
    assert _coins(node, name) == [30_000]
    call_command("wallet", "gap")
    (line,) = (one for one in capsys.readouterr().out.splitlines() if "bitcoin-cli" in one)
    words = shlex.split(line)
    assert words[:2] == ["bitcoin-cli", "importdescriptors"]
    (done,) = node.call("importdescriptors", json.loads(words[2]), wallet=name)
    assert done["success"], done
    assert _coins(node, name) == [30_000, 40_000]
    node.call("unloadwallet", name)


@pytest.mark.django_db
@pytest.mark.case("R31")
@pytest.mark.parametrize(("paid", "index", "hidden"), [(0, 20, False), (0, 21, True)])
def test_the_gap_counts_from_the_last_address_that_was_paid(
    paid: int,
    index: int,
    hidden: bool,
    gateway: Gateway,
    bitcoin: BitcoinDevnet,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    for number in range(index):
        gateway.address(f"n{number}")
    bitcoin.pay(address=gateway.address(f"n{paid}"), value_sat=30_000)
    bitcoin.mine(1)
    gateway.scan()
    caplog.clear()
    gateway.address(f"n{index}")
    assert ("gap limit" in caplog.text) == hidden
    (gap,) = gaps()
    assert gap.hides_coins == hidden
    call_command("wallet", "gap")
    assert ("raise the gap limit" in capsys.readouterr().err) == hidden


@pytest.mark.django_db
def test_after_a_restore_no_address_is_given_out_twice_and_the_lost_ones_are_watched(
    networks: Devnet, capsys: pytest.CaptureFixture[str]
) -> None:
    network = registry().networks[CAIP2]
    gateway = gateway_on(networks.bitcoin, account_key=network.account_key)
    gateway.scan()
    first = gateway.address("before the backup")
    savepoint = transaction.savepoint()
    lost = [gateway.address(f"lost {number}") for number in range(3)]
    transaction.savepoint_rollback(savepoint)  # the backup knows nothing of them

    call_command("wallet", "skip", "--to", "10")
    assert "9 addresses" in capsys.readouterr().out

    assert gateway.address("after") not in {first, *lost}
    assert Address.objects.get(reference="after").index == 10
    networks.bitcoin.pay(address=lost[1], value_sat=30_000)
    gateway.scan()
    (paid,) = gateway.transfers(Address.objects.get(text=lost[1]).reference)
    assert (paid.value, paid.state, paid.reference[:8]) == (30_000, "seen", "skipped:")


@pytest.mark.django_db
@pytest.mark.parametrize("first", [-1, 0, 1, 3 + SKIP_MAX, 2**31])
def test_indices_are_skipped_forward_and_not_far(first: int, networks: Devnet) -> None:
    network = registry().networks[CAIP2]
    for number in range(2):
        allocate_address(network=network, reference=f"n{number}")
    with pytest.raises(WalletError, match="next index is 2"):
        skip_indices(network=network, first=first)
    with pytest.raises(CommandError, match="--to"):
        call_command("wallet", "skip")
    assert skip_indices(network=network, first=2) == 0


@pytest.mark.django_db
def test_wallets_are_shown_and_checked(
    networks: Devnet, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    network = registry().networks[CAIP2]
    given = allocate_address(network=network, reference="one").text
    call_command("wallet", "show")
    shown = capsys.readouterr().out
    assert re.search(rf"{CAIP2}  operator  wpkh +[0-9a-f]{{16}}  1 +never +1", shown)
    monkeypatch.setattr("sys.stdin", io.StringIO(network.account_key + "\n"))
    call_command("wallet", "check")
    checked = capsys.readouterr().out
    assert f"address 0: {given}" in checked
    assert "operator has it" in checked
    for said in (shown, checked):
        assert network.account_key[4:20] not in said
    with pytest.raises(CommandError, match="names no network"):
        call_command("wallet", "check", "--network", "bip122:" + "0" * 32)


def test_an_old_installation_goes_on_after_its_last_index(db: None, networks: Devnet) -> None:
    """Addresses from before wallets had rows of their own are not given out again."""
    network = registry().networks[CAIP2]
    texts = {allocate_address(network=network, reference=f"n{one}").text for one in range(3)}
    ReceivingWallet.objects.all().delete()
    assert allocate_address(network=network, reference="next").text not in texts
    assert Address.objects.get(reference="next").index == 3


@pytest.mark.case("R32")
def test_no_two_invoices_share_an_index(committed: None, networks: Devnet) -> None:
    network = registry().networks[CAIP2]
    errors: list[BaseException] = []

    def allocate(worker: int) -> None:
        try:
            for number in range(5):
                allocate_address(network=network, reference=f"{worker}-{number}")
        except BaseException as error:  # noqa: BLE001 -- told below
            errors.append(error)
        finally:
            connection.close()

    workers = [threading.Thread(target=allocate, args=(worker,)) for worker in range(8)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert not errors
    assert sorted(Address.objects.values_list("index", flat=True)) == list(range(40))
    # The database itself refuses the index that a lost lock would give out twice.
    row = Address.objects.get(index=7)
    row.pk, row.script, row.reference = None, b"\x00\x14" + b"\x01" * 20, "again"
    with pytest.raises(IntegrityError, match="address_index_once"):
        row.save(force_insert=True)


def _coins(node: BitcoinDevnet, wallet: str) -> list[int]:
    found = node.call("listunspent", 0, wallet=wallet)
    return sorted(int(one["amount"] * 100_000_000) for one in found)
