"""Bring a world to rest, and hold what was stored against what the chains hold (I2)."""

from collections import Counter
from datetime import timedelta
from typing import Final

from alatau_pay.devnet import bitcoind
from merchants.expiring import expire_invoices
from merchants.settling import apply_transfers
from tests.simulation import recount
from tests.simulation.invariants import Invariants, prices_of
from tests.simulation.stored import STANDING, Stored, StoredInvoice, StoredTransfer
from tests.simulation.world import ViolationError, World

ROUNDS_MAX: Final = 12


def come_to_rest(world: World, invariants: Invariants) -> None:
    """Let every fault end, everything be mined deep enough, and the workers do what is due."""
    world.is_calm = True
    world.say("everything comes to rest")
    for worker in world.workers:
        worker.kill()
        worker.switch_share = 0.0
    for caip2, chain in world.chains.items():
        for tx in list(chain.waiting.values()):
            if world.rng.random() < 0.3:
                chain.drop(tx)
        chain.grow(1, share=1.0)
        chain.grow(1, share=1.0)
        network = world.networks[caip2]
        deep = max(network.confirmations) + 3
        chain.grow(recount.COINBASE_MATURITY if world.temper.has_coinbase else deep)
        chain.finalized = chain.best
        for server in world.servers[caip2]:
            server.become("")
    _work(world, invariants)
    last = world.rows("SELECT max(confirm_by) FROM merchants_invoice")[0][0]
    if last is not None and last > world.clock.now:
        world.clock.advance(last - world.clock.now + timedelta(seconds=1))
    _work(world, invariants)


def _work(world: World, invariants: Invariants) -> None:
    """Scan, apply and expire until nothing is left to do."""
    worker = world.workers[0]
    for _ in range(ROUNDS_MAX):
        # Longer than a pool leaves a failing node alone.
        world.clock.advance(timedelta(seconds=61))
        reports = []
        for caip2 in world.chains:
            world.begin(worker, f"scan {caip2[:12]}", world.scan(worker, caip2))
            reports.append(worker.result)
            if worker.failure is None:
                world.begin(worker, "apply", lambda at=caip2: apply_transfers(network=at))
            invariants.check()
        world.begin(worker, "expire", expire_invoices)
        invariants.check()
        if all(one is not None and one.caught_up and not one.changed for one in reports):
            return
    raise ViolationError("R0: the workers do not come to rest")


def check_rest(world: World, invariants: Invariants) -> None:
    """Check that what is stored, owed and said is what the chains hold. Raises ViolationError."""
    stored = invariants.check()
    final = sorted(one.held for one in stored.transfers if one.state == "final")
    truth = sorted(held for caip2 in world.chains for _tx, held in recount.held(world, caip2))
    if final != truth:
        lost = list((Counter(truth) - Counter(final)).elements())
        extra = list((Counter(final) - Counter(truth)).elements())
        raise ViolationError(f"I2: lost {lost}, too much {extra}")
    for one in stored.transfers:
        if one.state != "final":
            _check_gone(world, one)
    _check_money(world, stored, invariants)


def _check_gone(world: World, one: StoredTransfer) -> None:
    """What is not on chain is dropped, or replaced by what took its coins (R8)."""
    if one.state in STANDING:
        raise ViolationError(f"I2: {one} still waits")
    chain = world.chains[one.held.network]
    tx = chain.transactions[one.held.txid]
    if one.held.network != bitcoind.CAIP2:
        return
    spenders = {chain.best.taken[claim] for claim in tx.claims if claim in chain.best.taken}
    if spenders and (one.state != "replaced" or one.replaced_by not in spenders):
        raise ViolationError(f"R8: {one} was replaced by {spenders}")


def _check_money(world: World, stored: Stored, invariants: Invariants) -> None:
    owed: Counter[str] = Counter()
    for invoice in stored.invoices:
        final = [
            one for one in stored.transfers if one.state == "final" and one.reference == invoice.id
        ]
        owed[invoice.shop_id] += _check_invoice(world, invoice, final, invariants)
    booked = Counter(
        {
            shop: int(tiyn)
            for shop, tiyn in world.rows(
                "SELECT a.beneficiary, -sum(p.amount_tiyn) FROM settlement_posting p "
                "JOIN settlement_account a ON a.id = p.account_id "
                "WHERE a.code = 'merchant_payable' GROUP BY 1"
            )
        }
    )
    if +booked != +owed:
        raise ViolationError(f"I2: shops are owed {booked}, their invoices earned {owed}")


def _check_invoice(
    world: World, invoice: StoredInvoice, final: list[StoredTransfer], invariants: Invariants
) -> int:
    """Check one invoice's payments and books; return the tiyn that its shop is owed for it."""
    in_time = _check_payments(world, invoice, final, invariants)
    worth = recount.worth_tiyn(in_time, prices_of(world, invoice.id))
    complete = worth >= invoice.amount_tiyn
    if complete != (invoice.status == "settled"):
        raise ViolationError(f"I2: {invoice} was paid {float(worth)} tiyn in time")
    if invoice.status in {"new", "processing"}:
        raise ViolationError(f"I2: {invoice} is over and still open")
    payable, coins = _books(world, invoice.id)
    held = Counter[str]()
    for one in final:
        held[one.held.asset] += one.held.value
    if coins != held:
        raise ViolationError(f"I2: {invoice.id} holds {held}, the books say {coins}")
    earned = invoice.amount_tiyn if complete else 0
    if payable != earned:
        raise ViolationError(f"I2: {invoice} earned {earned} tiyn, the books say {payable}")
    return payable


def _check_payments(
    world: World, invoice: StoredInvoice, final: list[StoredTransfer], invariants: Invariants
) -> Counter[str]:
    """Check that what is final is booked, and nothing else; return what came in time."""
    payments = {
        identity: (int(quantity), state, booked, on_time)
        for identity, quantity, state, booked, on_time in world.rows(
            "SELECT identity, quantity, state, booked, on_time FROM merchants_invoicepayment "
            "WHERE invoice_id = %s ORDER BY id",
            invoice.id,
        )
    }
    in_time: Counter[str] = Counter()
    for one in final:
        *figures, on_time = payments.get(one.identity, (0, "", False, False))
        if figures != [one.held.value, "final", True]:
            raise ViolationError(f"I2: {one} is not booked: {figures}")
        _check_on_time(world, one, invoice, on_time, invariants)
        if on_time:
            in_time[one.held.asset] += one.held.value
    if sum(booked for _value, _state, booked, _on_time in payments.values()) != len(final):
        raise ViolationError(f"I2: {invoice.id} has booked what is not on chain")
    return in_time


def _check_on_time(
    world: World,
    one: StoredTransfer,
    invoice: StoredInvoice,
    on_time: bool,
    invariants: Invariants,
) -> None:
    """In time if it was found in time, late if it was sent too late (R24, R25)."""
    chain = world.chains[one.held.network]
    tx = chain.transactions[one.held.txid]
    blocks = [
        block
        for block in chain.blocks.values()
        if any(had.txid == tx.txid for had, _ in block.mined)
    ]
    times = [block.time for block in blocks]
    # Whose place it took is known by the coins that both spend; an account's nonce is not kept.
    names, earlier = {tx.txid}, tx.replaces
    while earlier is not None and one.held.network == bitcoind.CAIP2:
        names.add(earlier.txid)
        earlier = earlier.replaces
    stored = min(
        at
        for held, at in invariants.stored_at.items()
        if held.txid in names
        and (held.asset, held.script) == (one.held.asset, one.held.script)
        and held.value >= one.held.value
    )
    if stored <= invoice.expires_at and max(times) <= invoice.confirm_by and not on_time:
        raise ViolationError(f"R24: {one} was seen in time and counts as late")
    late = min(tx.promised_at, *times) > invoice.expires_at or min(times) > invoice.confirm_by
    if late and on_time:
        raise ViolationError(f"R24: {one} was paid late and counts as on time")


def _books(world: World, invoice: str) -> tuple[int, Counter[str]]:
    """Tiyn that the books owe a shop for one invoice, and the coins they hold for it."""
    coins: Counter[str] = Counter()
    payable = 0
    for code, asset, tiyn, quantity in world.rows(
        "SELECT a.code, p.asset, sum(p.amount_tiyn), sum(p.quantity) "
        "FROM settlement_posting p JOIN settlement_account a ON a.id = p.account_id "
        "JOIN settlement_journalentry e ON e.id = p.entry_id WHERE e.demand = %s GROUP BY 1, 2",
        invoice,
    ):
        if code == "coins_held":
            coins[asset] += int(quantity)
        if code == "merchant_payable":
            payable -= int(tiyn)
    return payable, +coins
