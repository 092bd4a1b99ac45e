"""Follow what was sent to its end: mined, final, taken back by the chain, replaced or lost.

Safe to run at any time, twice at once, and after any crash: what became of a sweep is read off the
chain by the hashes that were stored before they were sent, and by the nonce.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta

import structlog
from django.db import transaction

from chains.assets import Network
from chains.evm.payer import GasPayer
from chains.evm.sweeps import Fate, Receipt, SweepChain, outflows
from chains.models import Sweep, SweepAttempt, SweepState
from chains.nodes import BlockRef
from chains.pool import NodePool
from chains.sweeping.planning import policy_of
from chains.sweeping.sending import broadcast, replace_attempt

log = structlog.get_logger(__name__)

UNDER_WAY = (SweepState.SENT, SweepState.MINED)


@dataclass(slots=True, kw_only=True)
class FollowReport:
    """How many sweeps each thing happened to in one round."""

    mined: int = 0
    ended: int = 0
    taken_back: int = 0
    sent_again: int = 0
    replaced: int = 0
    waiting: int = 0


def follow_sweeps(
    *, network: Network, nodes: NodePool, payer: GasPayer | None, now: datetime
) -> FollowReport:
    """Bring every sweep of a network that is under way to where the chain has it.

    Without ``payer`` nothing is signed: what is stored is still sent again. Raises NodeError; what
    was recorded before stays.
    """
    report = FollowReport()
    sweeps = list(
        Sweep.objects.filter(network=network.caip2, state__in=UNDER_WAY).order_by("nonce")
    )
    if not sweeps:
        return report
    chain = SweepChain(network=network, nodes=nodes)
    final = chain.final_block()
    for sweep in sweeps:
        attempts = list(sweep.attempts.order_by("-pk"))
        fate = chain.fate_of(
            sender=sweep.sender,
            nonce=sweep.nonce or 0,
            txids=[one.txid for one in attempts],
            final=final,
        )
        if fate.receipt is not None:
            _record_mined(sweep, fate, fate.receipt, chain, report)
            continue
        if fate.nonce_used and _coins_are_there(sweep, chain, final):
            _record_lost(sweep)
            report.ended += 1
            continue
        report.taken_back += _take_back(sweep)
        _push(sweep, attempts[0], fate, network, chain, payer, now, report)
    return report


def _push(
    sweep: Sweep,
    last: SweepAttempt,
    fate: Fate,
    network: Network,
    chain: SweepChain,
    payer: GasPayer | None,
    now: datetime,
    report: FollowReport,
) -> None:
    """Raise the fee of what waits too long; send again what the network has forgotten."""
    patience = timedelta(seconds=policy_of(network).replace_after_s)
    if payer and payer.address == sweep.sender and now - last.signed_at >= patience:
        attempt = replace_attempt(sweep=sweep, last=last, network=network, chain=chain, payer=payer)
        if attempt is not None:
            broadcast(chain, sweep, attempt)
            report.replaced += 1
            return
    if fate.waits:
        report.waiting += 1
        return
    broadcast(chain, sweep, last)
    report.sent_again += 1


def _record_mined(
    sweep: Sweep, fate: Fate, receipt: Receipt, chain: SweepChain, report: FollowReport
) -> None:
    swept = _swept(sweep, receipt, chain) if fate.is_final else {}
    with transaction.atomic():
        locked = Sweep.objects.select_for_update().get(pk=sweep.pk)
        if locked.state not in UNDER_WAY:
            return
        report.mined += locked.state != SweepState.MINED
        locked.state = SweepState.MINED
        locked.txid, locked.note = receipt.txid, ""
        locked.block_height, locked.block_hash = receipt.block.height, receipt.block.hash
        locked.block_time = receipt.block.time
        locked.gas_used, locked.fee_wei = receipt.gas_used, receipt.fee_wei
        if fate.is_final:
            report.ended += 1
            locked.state = SweepState.DONE if receipt.succeeded else SweepState.REVERTED
            for item in locked.items.select_related("address"):
                item.swept, item.live = swept.get(item.address.text, 0), False
                item.save()
        locked.save()


def _record_lost(sweep: Sweep) -> None:
    with transaction.atomic():
        locked = Sweep.objects.select_for_update().get(pk=sweep.pk)
        if locked.state not in UNDER_WAY:
            return
        _clear_receipt(locked)
        locked.state = SweepState.LOST
        locked.note = "another transaction of the gas payer used its nonce"
        locked.save()
        locked.items.update(live=False)
    log.error("sweep lost its nonce", network=sweep.network, nonce=sweep.nonce)


def _take_back(sweep: Sweep) -> bool:
    """The chain reorganised: what was mined waits again."""
    with transaction.atomic():
        locked = Sweep.objects.select_for_update().get(pk=sweep.pk)
        if locked.state != SweepState.MINED:
            return False
        log.warning("sweep taken back", network=sweep.network, txid=locked.txid)
        _clear_receipt(locked)
        locked.state = SweepState.SENT
        locked.save()
    return True


def _clear_receipt(sweep: Sweep) -> None:
    sweep.txid = sweep.block_hash = ""
    sweep.block_height = sweep.block_time = sweep.gas_used = sweep.fee_wei = None


def _coins_are_there(sweep: Sweep, chain: SweepChain, final: BlockRef) -> bool:
    """Whether the forwarders still hold, on the final chain, what a sweep would have emptied.

    A sweep moves all or nothing; so a node that merely forgot a receipt is not believed.
    """
    items = list(sweep.items.select_related("address").order_by("pk"))
    holders = [item.address.text for item in items]
    token = sweep.asset.partition("/erc20:")[2] or None
    balances = chain.balances(holders, token=token, block=final)
    return all(balance >= item.value for balance, item in zip(balances, items, strict=True))


def _swept(sweep: Sweep, receipt: Receipt, chain: SweepChain) -> dict[str, int]:
    """Base units that left each forwarder, by its address."""
    holders = [item.address.text for item in sweep.items.select_related("address")]
    if not receipt.succeeded:
        return dict.fromkeys(holders, 0)
    token = sweep.asset.partition("/erc20:")[2]
    if token:
        return outflows(receipt, token=token, treasury=sweep.treasury, holders=holders)
    before = chain.final_block(height_max=receipt.block.height - 1)
    return dict(zip(holders, chain.balances(holders, token=None, block=before), strict=True))
