"""Tokens and contracts that lie, fail, take and destroy: only what really arrived counts."""

import pytest
from eth_account import Account
from web3.contract import Contract

from alatau_pay.devnet import anvil
from chains.models import Transfer
from tests.chains.evm.conftest import Scene
from tests.chains.evm.deploying import deploy, send
from tests.chains.evm.listed import change_registry, list_token

pytestmark = pytest.mark.django_db

WEI_MAX = 2**256 - 1
CHANGED = {"fee_on_transfer": True}


def listed(scene: Scene, token: Contract, **fields: object) -> Scene:
    """The network with one more token in its registry."""
    list_token(token.address)
    if fields:
        change_registry(lambda content: content["assets"][-1].update(fields))
    fresh = scene.as_listed()
    fresh.scan()
    return fresh


@pytest.mark.case("R45")
def test_a_token_of_the_same_symbol_is_ignored(scene: Scene) -> None:
    fake = deploy(scene.evm, "HostileToken", 10**12)
    assert fake.functions.symbol().call() == "USDT"
    send(fake.functions.transfer(scene.to, 5_000_000))
    scene.settle()
    assert not Transfer.objects.exists()


@pytest.mark.case("R46")
@pytest.mark.case("R59")
def test_nothing_in_a_failed_transaction_counts(scene: Scene) -> None:
    token = deploy(scene.evm, "HostileToken", 10**12)
    scene = listed(scene, token)
    wallet = deploy(scene.evm, "Wallet")
    send(token.functions.claim_and_revert(scene.to, 7), fails=True)
    send(wallet.functions.pay_and_revert(scene.to, 8), value=8, fails=True)
    web3 = scene.evm.web3()
    # A plain transfer that cannot afford the receiver's code: value in a failed transaction.
    broke = {"from": scene.evm.resident, "to": token.address, "value": 9, "gas": 60_000}
    assert web3.eth.wait_for_transaction_receipt(web3.eth.send_transaction(broke))["status"] == 0
    scene.settle()
    assert not Transfer.objects.exists()


@pytest.mark.case("R47")
def test_a_token_that_returns_false_and_logs_nothing_paid_nothing(scene: Scene) -> None:
    token = deploy(scene.evm, "HostileToken", 10**12)
    scene = listed(scene, token)
    receipt = send(token.functions.refuse(scene.to, 5_000_000))
    assert receipt["status"] == 1
    scene.settle()
    assert not Transfer.objects.exists()


@pytest.mark.case("R48")
@pytest.mark.case("R57")
def test_a_reverted_inner_call_paid_nothing_and_its_neighbours_count(scene: Scene) -> None:
    wallet = deploy(scene.evm, "Wallet")
    scene.evm.pay(address=wallet.address, value=100, token=scene.evm.usdt)
    send(wallet.functions.pay_in_vain(scene.to, 50), value=50)
    send(wallet.functions.pay_tokens_in_vain(scene.evm.usdt, scene.to, 60))
    send(wallet.functions.pay_tokens(scene.evm.usdt, [scene.to, scene.to], [1, 2]))
    scene.settle()
    assert scene.counted() == [1, 2]


@pytest.mark.case("R49")
def test_a_transfer_of_nothing_is_never_stored(scene: Scene) -> None:
    scene.evm.pay(address=scene.to, value=0, token=scene.evm.usdt)
    scene.evm.pay(address=scene.to, value=0)
    scene.settle()
    assert not Transfer.objects.exists()


def test_logs_that_only_look_like_a_transfer_are_none(scene: Scene) -> None:
    token = deploy(scene.evm, "HostileToken", 10**12)
    scene = listed(scene, token)
    receipt = send(token.functions.claim_oddly(scene.to, 9))
    assert len(receipt["logs"]) == 4
    send(token.functions.claim(scene.to, 3))
    scene.settle()
    assert scene.counted() == [3]


@pytest.mark.case("R51")
@pytest.mark.parametrize("tells_net", [True, False])
def test_a_token_that_takes_a_fee_counts_by_what_arrived(tells_net: bool, scene: Scene) -> None:
    token = deploy(scene.evm, "HostileToken", 10**12)
    send(token.functions.take_fee(300, tells_net))
    scene = listed(scene, token, fee_on_transfer=True)
    send(token.functions.transfer(scene.to, 1_000))
    scene.settle()
    assert scene.counted() == [970] == [token.functions.balanceOf(scene.to).call()]


@pytest.mark.case("R51")
def test_two_payments_in_one_block_share_what_arrived(scene: Scene) -> None:
    token = deploy(scene.evm, "HostileToken", 10**12)
    send(token.functions.take_fee(1_000, False))
    scene = listed(scene, token, fee_on_transfer=True)
    wallet = deploy(scene.evm, "Wallet")
    send(token.functions.transfer(wallet.address, 10_000))
    send(wallet.functions.pay_tokens(token.address, [scene.to, scene.to], [100, 50]))
    scene.settle()
    assert scene.counted() == [35, 100]
    assert token.functions.balanceOf(scene.to).call() == 135


@pytest.mark.case("R51")
def test_a_claim_that_moved_nothing_counts_nothing_where_fees_are_expected(scene: Scene) -> None:
    token = deploy(scene.evm, "HostileToken", 10**12)
    scene = listed(scene, token, fee_on_transfer=True)
    send(token.functions.claim(scene.to, WEI_MAX))
    scene.settle()
    assert not Transfer.objects.exists()


@pytest.mark.case("R53")
def test_a_token_without_a_return_value_pays(scene: Scene) -> None:
    scene.evm.pay(address=scene.to, value=12, token=scene.evm.usdt)  # as on Ethereum
    scene.settle()
    assert scene.counted() == [12]


@pytest.mark.case("R55")
def test_the_largest_number_is_stored_and_breaks_nothing(scene: Scene) -> None:
    token = deploy(scene.evm, "HostileToken", 10**12)
    scene = listed(scene, token)
    for _ in range(2):
        send(token.functions.claim(scene.to, WEI_MAX))
    scene.evm.pay(address=scene.to, value=4, token=scene.evm.usdt)
    scene.settle()
    assert scene.counted() == [4, WEI_MAX, WEI_MAX]
    assert {one.state for one in scene.facts()} == {"final"}


@pytest.mark.case("R57")
def test_what_contracts_pass_on_counts_by_its_place_in_the_trace(scene: Scene) -> None:
    wallet = deploy(scene.evm, "Wallet")
    others = [scene.address(f"n{number}") for number in range(3)]
    send(wallet.functions.pay(scene.to, 5), value=5)
    send(wallet.functions.pay_deep(scene.to, 6, 3), value=6)
    send(wallet.functions.pay_many([*others, scene.to], [1, 2, 3, 4]), value=10)
    scene.settle()
    assert scene.counted() == [4, 5, 6]
    places = [one.position for one in scene.facts()]
    assert places == ["call:0", "call:0.0.0.0", "call:3"]
    assert [scene.counted(f"n{number}") for number in range(3)] == [[1], [2], [3]]


@pytest.mark.case("R58")
def test_a_destroyed_contracts_coins_are_found(scene: Scene) -> None:
    wallet = deploy(scene.evm, "Wallet")
    scene.evm.pay(address=wallet.address, value=77)
    send(wallet.functions.destroy(scene.to))
    assert scene.evm.web3().eth.get_balance(scene.to) == 77
    scene.settle()
    assert scene.counted() == [77]


@pytest.mark.case("R60")
def test_a_bundle_pays_through_its_accounts(scene: Scene) -> None:
    """ERC-4337: the bundler's transaction calls the entry point; two of three accounts pay."""
    entry = deploy(scene.evm, "EntryPoint")
    wallets = [deploy(scene.evm, "Wallet") for _ in range(3)]
    scene.evm.pay(address=wallets[0].address, value=10)
    scene.evm.pay(address=wallets[1].address, value=10)
    scene.evm.pay(address=wallets[2].address, value=30, token=scene.evm.usdc)
    calls = [
        wallets[0].encode_abi("pay", [scene.to, 9]),
        wallets[1].encode_abi("pay_and_revert", [scene.to, 8]),
        wallets[2].encode_abi("pay_tokens", [scene.evm.usdc, [scene.to], [30]]),
    ]
    bundle = entry.functions.handle_ops([one.address for one in wallets], calls)
    receipt = send(bundle)
    assert receipt["to"] == entry.address
    scene.settle()
    assert scene.counted() == [9, 30]


@pytest.mark.case("R60")
def test_a_delegated_account_pays_by_anothers_transaction(scene: Scene) -> None:
    """EIP-7702: the payer's account runs a contract's code, and somebody else sends."""
    web3, code = scene.evm.web3(), deploy(scene.evm, "Wallet")
    payer = Account.create()
    scene.evm.pay(address=payer.address, value=10**18)
    signed = payer.sign_authorization(
        {"chainId": anvil.CHAIN_ID, "address": code.address, "nonce": 0}
    )
    Account.enable_unaudited_hdwallet_features()
    helper = Account.from_mnemonic(anvil.MNEMONIC, account_path="m/44'/60'/0'/0/6")
    call = web3.eth.contract(payer.address, abi=code.abi).encode_abi("pay", [scene.to, 13])
    raw = helper.sign_transaction(
        {
            "type": 4,
            "chainId": anvil.CHAIN_ID,
            "nonce": web3.eth.get_transaction_count(helper.address),
            "to": payer.address,
            "value": 0,
            "data": call,
            "gas": 300_000,
            "maxFeePerGas": 10**11,
            "maxPriorityFeePerGas": 10**9,
            "authorizationList": [signed],
        }
    ).raw_transaction
    receipt = web3.eth.wait_for_transaction_receipt(web3.eth.send_raw_transaction(raw))
    assert receipt["status"] == 1
    assert bytes(web3.eth.get_code(payer.address)).startswith(bytes.fromhex("ef0100"))
    scene.settle()
    assert scene.counted() == [13]
