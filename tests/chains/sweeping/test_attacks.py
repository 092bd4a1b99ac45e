"""Every way that we could think of to send a forwarder's coins elsewhere, on a real node."""

from typing import Any

import pytest
from eth_utils.address import to_checksum_address
from eth_utils.crypto import keccak
from web3.contract import Contract
from web3.exceptions import Web3Exception

from alatau_pay.devnet.contracts import artefact
from chains.evm.forwarders import BODY_HEAD, BODY_TAIL, LOADER, forwarder_address, invoice_salt
from tests.chains.evm.deploying import deploy
from tests.chains.sweeping.conftest import Sweeping

pytestmark = pytest.mark.django_db

NO_TOKEN = "0x" + "00" * 20
STRANGER = 7
"""His place among the node's own accounts."""


def salt_of(reference: str) -> bytes:
    return invoice_salt(network="eip155:31337", reference=reference)


def factory_of(sweeping: Sweeping) -> Contract:
    web3 = sweeping.devnet.evm.web3()
    factory = to_checksum_address(sweeping.network.factory)
    return web3.eth.contract(factory, abi=artefact("ForwarderFactory").abi)


def stranger_of(sweeping: Sweeping) -> str:
    return str(sweeping.devnet.evm.web3().eth.accounts[STRANGER])


class Loot:
    """A funded forwarder, what the stranger has, and the check that he got none of it."""

    def __init__(self, sweeping: Sweeping, *, deployed: bool) -> None:
        self.sweeping = sweeping
        self.forwarder = sweeping.pay("USDT", 30_000_000, "loot")
        sweeping.pay("ETH", 10**17, "loot")
        self.stranger = stranger_of(sweeping)
        if deployed:
            self.sweep(NO_TOKEN, treasury=sweeping.network.treasury, salt=salt_of("loot"))
            sweeping.pay("ETH", 10**17, "loot")
        self.reached = {symbol: sweeping.in_treasury(symbol) for symbol in ("USDT", "ETH")}
        self.ether = sweeping.balance("ETH", self.stranger)

    def sweep(self, token: str, *, treasury: str, salt: bytes) -> None:
        call = factory_of(self.sweeping).functions.sweep(treasury, token, [salt])
        call.transact({"from": self.stranger})

    def check(self, *thieves: str) -> None:
        """All is at the forwarder or in the treasury, and nothing at a thief's address."""
        for symbol, value in (("USDT", 30_000_000), ("ETH", 10**17)):
            gained = self.sweeping.in_treasury(symbol) - self.reached[symbol]
            assert self.sweeping.balance(symbol, self.forwarder) + gained == value
        for thief in (self.stranger, *thieves):
            assert self.sweeping.balance("USDT", thief) == 0
        for thief in thieves:
            assert self.sweeping.balance("ETH", thief) == 0
        assert self.sweeping.balance("ETH", self.stranger) <= self.ether

    def check_still_sweeps(self) -> None:
        """Whatever was tried, the owner's sweep still empties the forwarder."""
        treasury = self.sweeping.network.treasury
        for token in (self.sweeping.asset("USDT").contract or "", NO_TOKEN):
            self.sweep(token, treasury=treasury, salt=salt_of("loot"))
        assert self.sweeping.balance("USDT", self.forwarder) == 0
        assert self.sweeping.balance("ETH", self.forwarder) == 0
        self.check()


@pytest.fixture(params=[False, True], ids=["fresh", "deployed"])
def loot(request: pytest.FixtureRequest, sweeping: Sweeping) -> Loot:
    return Loot(sweeping, deployed=request.param)


def test_a_stranger_who_names_himself_treasury_sweeps_another_address(loot: Loot) -> None:
    usdt = loot.sweeping.asset("USDT").contract or ""
    for token in (usdt, NO_TOKEN):
        loot.sweep(token, treasury=loot.stranger, salt=salt_of("loot"))
    # Also with the salt that the factory makes of the treasury and the invoice's salt.
    bound = keccak(
        bytes.fromhex(loot.sweeping.network.treasury[2:]).rjust(32, b"\0") + salt_of("loot")
    )
    for token in (usdt, NO_TOKEN):
        loot.sweep(token, treasury=loot.stranger, salt=bound)
    loot.check()
    loot.check_still_sweeps()


def test_nobody_but_the_factory_tells_a_forwarder_to_pay(loot: Loot) -> None:
    web3 = loot.sweeping.devnet.evm.web3()
    usdt = loot.sweeping.asset("USDT").contract
    for place in (loot.forwarder, loot.sweeping.network.forwarder):
        forwarder = web3.eth.contract(to_checksum_address(place), abi=artefact("Forwarder").abi)
        for token in (usdt, NO_TOKEN):
            call = forwarder.functions.forward(token, loot.stranger)
            if not web3.eth.get_code(forwarder.address):
                # Nothing stands there yet: the call is heard by nobody.
                web3.eth.send_transaction(
                    {"from": loot.stranger, "to": place, "data": call._encode_transaction_data()}
                )
                continue
            with pytest.raises(Web3Exception, match="only the factory"):
                call.transact({"from": loot.stranger})
            # Sent without asking first, it fails in the block.
            sent = call.transact({"from": loot.stranger, "gas": 500_000})
            assert web3.eth.wait_for_transaction_receipt(sent)["status"] == 0
    loot.check()
    loot.check_still_sweeps()


def test_no_contract_stands_between_a_forwarder_and_its_factory(loot: Loot) -> None:
    web3 = loot.sweeping.devnet.evm.web3()
    caller = deploy(loot.sweeping.devnet.evm, "Caller")
    usdt = loot.sweeping.asset("USDT").contract
    forwarder = web3.eth.contract(
        to_checksum_address(loot.forwarder), abi=artefact("Forwarder").abi
    )
    forward = forwarder.encode_abi("forward", [usdt, loot.stranger])
    sweep = factory_of(loot.sweeping).encode_abi("sweep", [loot.stranger, usdt, [salt_of("loot")]])
    tries = [
        caller.functions.call_through(loot.forwarder, forward),
        # Lends the code, the sender stays the stranger: refused.
        caller.functions.delegate(loot.sweeping.network.forwarder, forward),
        # Runs the factory's code in the stranger's name: other addresses.
        caller.functions.delegate(loot.sweeping.network.factory, sweep),
        caller.functions.call_through(loot.sweeping.network.factory, sweep),
    ]
    for one in tries:
        sent = one.transact({"from": loot.stranger, "gas": 2_000_000})
        web3.eth.wait_for_transaction_receipt(sent)
    loot.check(caller.address)
    loot.check_still_sweeps()


def test_nobody_deploys_other_code_at_a_forwarders_address(loot: Loot) -> None:
    """The address holds the factory, the code and the treasury: any other is another address."""
    web3 = loot.sweeping.devnet.evm.web3()
    deployer = deploy(loot.sweeping.devnet.evm, "Deployer")
    network = loot.sweeping.network
    init_code = LOADER + BODY_HEAD + bytes.fromhex(network.forwarder[2:]) + BODY_TAIL
    bound = keccak(bytes.fromhex(network.treasury[2:]).rjust(32, b"\0") + salt_of("loot"))
    before = web3.eth.get_code(to_checksum_address(loot.forwarder))
    for call in (
        deployer.functions.deploy(init_code, bound),
        deployer.functions.proxy(network.forwarder, bound),
        deployer.functions.proxy(network.forwarder, salt_of("loot")),
    ):
        made = call.call({"from": loot.stranger})
        assert made != to_checksum_address(loot.forwarder)
        call.transact({"from": loot.stranger, "gas": 3_000_000})
    assert web3.eth.get_code(to_checksum_address(loot.forwarder)) == before
    loot.check(deployer.address)
    loot.check_still_sweeps()


@pytest.mark.parametrize("changed", ["factory", "forwarder", "treasury", "salt"])
def test_an_address_names_every_part_that_it_was_made_of(changed: str, sweeping: Sweeping) -> None:
    parts: dict[str, Any] = {
        "factory": sweeping.network.factory,
        "forwarder": sweeping.network.forwarder,
        "treasury": sweeping.network.treasury,
        "salt": salt_of("one"),
    }
    ours = forwarder_address(**parts)
    assert ours == sweeping.address("one")
    other = salt_of("two") if changed == "salt" else stranger_of(sweeping)
    assert forwarder_address(**{**parts, changed: other}) != ours


def test_a_hostile_token_that_calls_back_takes_nothing(sweeping: Sweeping) -> None:
    loot = Loot(sweeping, deployed=True)
    network = sweeping.network
    token = deploy(
        sweeping.devnet.evm,
        "CallingToken",
        loot.stranger,
        to_checksum_address(network.factory),
        sweeping.asset("USDT").contract,
        to_checksum_address(loot.forwarder),
        salt_of("loot"),
        to_checksum_address(network.treasury),
    )
    for reference in ("loot", "other"):
        loot.sweep(token.address, treasury=network.treasury, salt=salt_of(reference))
    assert token.functions.calls().call() >= 2
    assert token.functions.refused().call() == 4
    loot.check(token.address)
    loot.check_still_sweeps()


@pytest.mark.filterwarnings("ignore")
def test_selfdestruct_can_only_add_coins(loot: Loot) -> None:
    """Coins forced on a forwarder go to its treasury; a forwarder itself never ends."""
    sweeping = loot.sweeping
    web3 = sweeping.devnet.evm.web3()
    for heir in (loot.forwarder, sweeping.network.forwarder, sweeping.network.factory):
        deploy(sweeping.devnet.evm, "Bomb", to_checksum_address(heir), value=10**9)
    # Neither piece of code knows SELFDESTRUCT, CALLCODE or DELEGATECALL; the one value fixed at
    # deployment stands behind the instructions.
    for place in (sweeping.network.forwarder, sweeping.network.factory):
        code = bytes(web3.eth.get_code(to_checksum_address(place)))[:-32]
        assert not {0xFF, 0xF2, 0xF4} & set(opcodes(code))
    usdt = sweeping.asset("USDT").contract or ""
    loot.sweep(NO_TOKEN, treasury=sweeping.network.treasury, salt=salt_of("loot"))
    loot.sweep(usdt, treasury=sweeping.network.treasury, salt=salt_of("loot"))
    assert sweeping.in_treasury("ETH") - loot.reached["ETH"] == 10**17 + 10**9
    assert sweeping.balance("USDT", loot.forwarder) == 0
    # Coins forced on the shared code itself belong to nobody, and pay nobody.
    assert sweeping.balance("ETH", sweeping.network.forwarder) >= 10**9


def opcodes(code: bytes) -> list[int]:
    """The instructions of a contract, without what they push."""
    found, place = [], 0
    while place < len(code):
        one = code[place]
        found.append(one)
        place += 1 + (one - 0x5F if 0x60 <= one <= 0x7F else 0)
    return found
