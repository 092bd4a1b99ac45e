"""Follow what was sent to its end: mined, final, taken back by the chain, replaced or lost.

Safe to run at any time, twice at once, and after any crash: what became of a sweep is read off the
chain by the hashes that were stored before they were sent, and by the nonce.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Final

import structlog
from django.db import transaction
from django.db.models.functions import Now

from chains import cursors
from chains.assets import Network
from chains.evm.payer import GasPayer
from chains.evm.sweeps import Fate, Receipt, SweepChain, outflows
from chains.models import Outflow, Sweep, SweepAttempt, SweepItem, SweepState
from chains.nodes import BlockRef
from chains.pool import NodePool
from chains.sweeping.holdings import mark_swept
from chains.sweeping.planning import policy_of
from chains.sweeping.sending import broadcast, replace_attempt

log = structlog.get_logger(__name__)

PayerOf = Callable[[], GasPayer | None]
UNDER_WAY = (SweepState.SENT, SweepState.MINED)
CLOCKS_APART: Final = timedelta(minutes=1)
"""By so much a chain's clock, in whole seconds, may be behind the database's."""


@dataclass(slots=True, kw_only=True)
class FollowReport:
    """How many sweeps each thing happened to in one round."""

    mined: int = 0
    ended: int = 0
    taken_back: int = 0
    sent_again: int = 0
    replaced: int = 0
    waiting: int = 0


def follow_sweeps(*, network: Network, nodes: NodePool, payer_of: PayerOf) -> FollowReport:
    """Bring every sweep of a network that is under way to where the chain has it.

    ``payer_of`` is asked for the key only when a higher fee is to be signed; without one, what is
    stored is still sent again. Raises NodeError; what was recorded before stays.
    """
    sweeps = Sweep.objects.filter(network=network.caip2, state__in=UNDER_WAY).order_by("nonce")
    waiting = list(sweeps.prefetch_related("items__address"))
    if not waiting:
        return FollowReport()
    chain = SweepChain(network=network, nodes=nodes)
    one_round = _Round(network=network, chain=chain, final=chain.final_block(), payer_of=payer_of)
    for sweep in waiting:
        one_round.follow(sweep)
    return one_round.report


@dataclass(slots=True, kw_only=True)
class _Round:
    """One look at everything that is under way on a network."""

    network: Network
    chain: SweepChain
    final: BlockRef
    payer_of: PayerOf
    report: FollowReport = field(default_factory=FollowReport)

    def follow(self, sweep: Sweep) -> None:
        """Record what became of one sweep, or help it along."""
        attempts = list(sweep.attempts.order_by("-pk"))
        fate = self.chain.fate_of(
            sender=sweep.sender,
            nonce=sweep.nonce or 0,
            txids=[one.txid for one in attempts],
            final=self.final,
        )
        if fate.receipt is not None:
            self._record(sweep, fate.receipt, is_final=fate.is_final)
        elif fate.nonce_used and self._coins_are_there(sweep):
            self.report.ended += _record_lost(sweep)
        else:
            self.report.taken_back += _take_back(sweep)
            self._push(sweep, attempts, fate)

    def _push(self, sweep: Sweep, attempts: Sequence[SweepAttempt], fate: Fate) -> None:
        """Raise the fee of what waits too long; send again what the network has forgotten."""
        last = attempts[0]
        patience = timedelta(seconds=policy_of(self.network).replace_after_s)
        # By the database's clock, as it was stored (R71).
        waited = sweep.attempts.filter(pk=last.pk, signed_at__lte=Now() - patience).exists()
        payer = self.payer_of() if waited else None
        if payer and payer.address == sweep.sender:
            attempt = replace_attempt(
                sweep=sweep, last=last, network=self.network, chain=self.chain, payer=payer
            )
            if attempt is not None:
                broadcast(self.chain, sweep, attempt)
                self.report.replaced += 1
                return
        if fate.waits:
            self.report.waiting += 1
            return
        broadcast(self.chain, sweep, last)
        self.report.sent_again += 1

    def _record(self, sweep: Sweep, receipt: Receipt, *, is_final: bool) -> None:
        swept = self._swept(sweep, receipt) if is_final else {}
        with transaction.atomic():
            if is_final:
                cursors.lock(sweep.network)
            locked = Sweep.objects.select_for_update().get(pk=sweep.pk)
            if locked.state not in UNDER_WAY:
                return
            self.report.mined += locked.state != SweepState.MINED
            locked.state, locked.note = SweepState.MINED, ""
            locked.txid = receipt.txid
            locked.block_height, locked.block_hash = receipt.block.height, receipt.block.hash
            locked.block_time = receipt.block.time
            locked.gas_used, locked.fee_wei = receipt.gas_used, receipt.fee_wei
            if is_final:
                self.report.ended += 1
                locked.state = SweepState.DONE if receipt.succeeded else SweepState.REVERTED
                for item in locked.items.select_related("address"):
                    _end_item(locked, item, swept.get(item.address.text, 0))
            locked.save()

    def _coins_are_there(self, sweep: Sweep) -> bool:
        """Whether the forwarders still hold, on the final chain, what a sweep would have emptied.

        A sweep moves all or nothing; so a node that merely forgot a receipt is not believed. Where
        coins are gone, the scans must have seen another transaction take them: anyone may sweep.
        """
        items = list(sweep.items.all())
        holders = [item.address.text for item in items]
        balances = self.chain.balances(holders, token=_token(sweep), block=self.final)
        gone = {
            item.address_id
            for balance, item in zip(balances, items, strict=True)
            if balance < item.value
        }
        taken = Outflow.objects.filter(
            address__in=[item.address_id for item in items],
            asset=sweep.asset,
            block__canonical=True,
            block__height__lte=self.final.height,
            block__time__gte=sweep.planned_at - CLOCKS_APART,
        )
        by_us = taken.filter(txid__in=sweep.attempts.values("txid"))
        return not by_us.exists() and gone <= set(taken.values_list("address", flat=True))

    def _swept(self, sweep: Sweep, receipt: Receipt) -> dict[str, int]:
        """Base units that left each forwarder, by its address."""
        holders = [item.address.text for item in sweep.items.all()]
        if not receipt.succeeded:
            return {}
        said = outflows(
            receipt,
            token=_token(sweep),
            factory=sweep.factory,
            treasury=sweep.treasury,
            holders=holders,
        )
        if said is not None:
            return said
        before = self.chain.final_block(height_max=receipt.block.height - 1)
        balances = self.chain.balances(holders, token=None, block=before)
        return dict(zip(holders, balances, strict=True))


def _end_item(sweep: Sweep, item: SweepItem, swept: int) -> None:
    item.swept, item.live = swept, False
    item.save()
    sweep.note = sweep.note or _shortfall(item)
    if sweep.state == SweepState.DONE and swept >= item.value and sweep.block_height is not None:
        mark_swept(asset=sweep.asset, address=item.address, height=sweep.block_height)


def _shortfall(item: SweepItem) -> str:
    """That less left an address than it held: the token is not what it says."""
    if item.swept is None or item.swept >= item.value:
        return ""
    return f"{item.address.text} held {item.value} and gave {item.swept}"


def _record_lost(sweep: Sweep) -> bool:
    with transaction.atomic():
        locked = Sweep.objects.select_for_update().get(pk=sweep.pk)
        if locked.state not in UNDER_WAY:
            return False
        _forget_receipt(locked)
        locked.state = SweepState.LOST
        locked.note = "another transaction of the gas payer used its nonce"
        locked.save()
        locked.items.update(live=False)
    log.error("sweep lost its nonce", network=sweep.network, nonce=sweep.nonce)
    return True


def _take_back(sweep: Sweep) -> bool:
    """The chain reorganised: what was mined waits again."""
    with transaction.atomic():
        locked = Sweep.objects.select_for_update().get(pk=sweep.pk)
        if locked.state != SweepState.MINED:
            return False
        log.warning("sweep taken back", network=sweep.network, txid=locked.txid)
        _forget_receipt(locked)
        locked.state = SweepState.SENT
        locked.save()
    return True


def _forget_receipt(sweep: Sweep) -> None:
    sweep.txid = sweep.block_hash = ""
    sweep.block_height = sweep.block_time = sweep.gas_used = sweep.fee_wei = None


def _token(sweep: Sweep) -> str | None:
    return sweep.asset.partition("/erc20:")[2] or None
