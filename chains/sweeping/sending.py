"""Send a stored plan, and raise the fee of what is not mined.

A transaction is signed and stored under the network's sweeping lock, committed, and only then
sent: whoever is killed in between leaves a row from which the same bytes are sent again. A sweep
keeps its nonce for ever, so that at most one of its attempts can be mined, and the database holds
an address in one sweep at a time.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from typing import Final
from uuid import UUID

import structlog
from django.db import IntegrityError, connection, transaction
from django.db.models import Max
from django.db.models.functions import Now

from chains.assets import Network, Registry
from chains.evm.payer import GasPayer
from chains.evm.sweeps import Fees, Refusal, SweepChain, sweep_call
from chains.models import Sweep, SweepAttempt, SweepState
from chains.nodes import NodeError
from chains.pool import NodePool
from chains.sweeping.planning import SweepRefusedError, check_treasury

log = structlog.get_logger(__name__)

PLAN_AGE_MAX: Final = timedelta(minutes=15)
"""A plan that is older says too little about the chain and the fees of now."""
ROOM_FOR_BASE_FEE: Final = 2
"""The base fee can grow by an eighth a block: twice of it lasts for six full blocks."""
BUMP: Final = (9, 8)
"""Nodes take a replacement for an eighth more, in fee and in tip."""


class SendOutcome(StrEnum):
    """What became of one sweep of a plan."""

    SENT = "sent"
    WAITING = "signed, to be sent again"
    NOT_SENT = "not sent"


@dataclass(frozen=True, slots=True, kw_only=True)
class SweepSent:
    """One sweep of a plan, with its transaction's hash where it was signed."""

    sweep: int
    outcome: SendOutcome
    txid: str
    why: str


def send_plan(
    *,
    plan: UUID,
    networks: Registry,
    node_for: Callable[[Network], NodePool],
    payer: GasPayer,
) -> list[SweepSent]:
    """Send every sweep of a stored plan that still holds.

    A sweep whose rehearsal fails now, whose fees have risen beyond its limit, or whose node does
    not answer, is left out and said to be not sent. Raises SweepRefusedError for a plan that is
    unknown, sent or too old, or whose treasury the payer owns.
    """
    sweeps = Sweep.objects.filter(plan=plan).order_by("pk")
    waiting = list(sweeps.filter(state=SweepState.PLANNED))
    if not waiting:
        said = "was sent before" if sweeps.exists() else "is not known"
        raise SweepRefusedError(f"The plan {plan} {said}.")
    # By the database's clock, as it was stored (R71).
    if sweeps.filter(planned_at__lt=Now() - PLAN_AGE_MAX).exists():
        raise SweepRefusedError(f"The plan {plan} is older than {PLAN_AGE_MAX}: plan anew.")
    nodes = {one.network: node_for(networks.networks[one.network]) for one in waiting}
    sent = []
    for sweep in waiting:
        network = networks.networks[sweep.network]
        chain = SweepChain(network=network, nodes=nodes[sweep.network])
        try:
            check_treasury(chain, treasury=sweep.treasury, payer=payer)
            sent.append(_send(sweep, network=network, chain=chain, payer=payer))
        except NodeError as error:
            sent.append(_not_sent(sweep, str(error)))
    return sent


def broadcast(chain: SweepChain, sweep: Sweep, attempt: SweepAttempt) -> str:
    """Hand a stored attempt to the network; why it was not taken, or an empty text."""
    try:
        why = chain.send(bytes(attempt.raw))
    except NodeError as error:
        why = str(error)
    Sweep.objects.filter(pk=sweep.pk).update(note=why[:200])
    if why:
        log.warning("sweep not taken", network=sweep.network, txid=attempt.txid, why=why)
    return why


def replace_attempt(
    *, sweep: Sweep, last: SweepAttempt, network: Network, chain: SweepChain, payer: GasPayer
) -> SweepAttempt | None:
    """Sign and store an attempt with a higher fee, within the sweep's limit; None where it is met.

    Of two callers that saw the same last attempt, one gets None.
    """
    numerator, denominator = BUMP
    fees = chain.fees()
    least = -(-last.fee_wei_per_gas * numerator // denominator)
    tip = max(fees.tip_wei, -(-last.tip_wei_per_gas * numerator // denominator))
    fee = max(least, ROOM_FOR_BASE_FEE * fees.base_wei + tip)
    fee = min(fee, sweep.fee_wei_per_gas_max)
    if fee < least or tip > fee:
        return None
    with transaction.atomic():
        _lock(network)
        locked = Sweep.objects.select_for_update().get(pk=sweep.pk)
        latest = locked.attempts.order_by("-pk").first()
        if locked.state != SweepState.SENT or latest != last:
            return None
        return _sign(locked, network=network, payer=payer, fee=fee, tip=tip)


def _send(sweep: Sweep, *, network: Network, chain: SweepChain, payer: GasPayer) -> SweepSent:
    fees = chain.fees()
    fee = min(sweep.fee_wei_per_gas_max, ROOM_FOR_BASE_FEE * fees.base_wei + fees.tip_wei)
    why = _why_stale(sweep, chain, payer, fees, fee)
    if why:
        return _not_sent(sweep, why)
    nonce = chain.next_nonce(payer.address)
    try:
        attempt = _start(
            sweep, network=network, payer=payer, nonce=nonce, fee=fee, tip=min(fee, fees.tip_wei)
        )
    except IntegrityError:
        return _not_sent(sweep, "another sweep holds one of its addresses")
    if attempt is None:
        return _not_sent(sweep, "somebody else has just sent it")
    why = broadcast(chain, sweep, attempt)
    outcome = SendOutcome.WAITING if why else SendOutcome.SENT
    return SweepSent(sweep=sweep.pk, outcome=outcome, txid=attempt.txid, why=why)


def _not_sent(sweep: Sweep, why: str) -> SweepSent:
    return SweepSent(sweep=sweep.pk, outcome=SendOutcome.NOT_SENT, txid="", why=why)


def _why_stale(sweep: Sweep, chain: SweepChain, payer: GasPayer, fees: Fees, fee: int) -> str:
    """Why a planned sweep does not hold any more; empty where it does."""
    if fees.total_wei > sweep.fee_wei_per_gas_max:
        return (
            f"gas costs {fees.total_wei} wei a unit now, and it bears {sweep.fee_wei_per_gas_max}"
        )
    answer = chain.gas_of(sender=payer.address, factory=sweep.factory, data=_data(sweep))
    if isinstance(answer, Refusal):
        return answer.reason
    if answer > sweep.gas_limit:
        return f"it needs {answer} gas now, and {sweep.gas_limit} was planned"
    # Nodes ask for the whole limit at the whole fee, whatever is spent of it.
    if chain.balance_now(payer.address) < sweep.gas_limit * fee:
        return f"the gas payer {payer.address} cannot pay for it: top it up"
    return ""


@transaction.atomic
def _start(
    sweep: Sweep, *, network: Network, payer: GasPayer, nonce: int, fee: int, tip: int
) -> SweepAttempt | None:
    """Give the sweep its nonce, hold its addresses, and sign; None if someone else did.

    Raises IntegrityError where another sweep holds one of the addresses.
    """
    _lock(network)
    locked = Sweep.objects.select_for_update().get(pk=sweep.pk)
    if locked.state != SweepState.PLANNED:
        return None
    used = Sweep.objects.filter(network=sweep.network, sender=payer.address)
    last = used.aggregate(last=Max("nonce"))["last"]
    # The node may be behind what was signed here, and knows what was signed elsewhere.
    locked.nonce = nonce if last is None else max(nonce, last + 1)
    locked.sender = payer.address
    locked.state = SweepState.SENT
    locked.save()
    locked.items.update(live=True)
    return _sign(locked, network=network, payer=payer, fee=fee, tip=tip)


def _sign(sweep: Sweep, *, network: Network, payer: GasPayer, fee: int, tip: int) -> SweepAttempt:
    signed = payer.sign(
        {
            "type": 2,
            "chainId": network.chain_id,
            "nonce": sweep.nonce,
            "to": sweep.factory,
            "value": 0,
            "data": _data(sweep),
            "gas": sweep.gas_limit,
            "maxFeePerGas": fee,
            "maxPriorityFeePerGas": tip,
        }
    )
    return SweepAttempt.objects.create(
        sweep=sweep, txid=signed.txid, raw=signed.raw, fee_wei_per_gas=fee, tip_wei_per_gas=tip
    )


def _data(sweep: Sweep) -> bytes:
    items = sweep.items.select_related("address").order_by("pk")
    token = sweep.asset.partition("/erc20:")[2] or None
    salts = [bytes(item.address.salt or b"") for item in items]
    return sweep_call(treasury=sweep.treasury, token=token, salts=salts)


def _lock(network: Network) -> None:
    with connection.cursor() as sql:
        sql.execute(
            "SELECT pg_advisory_xact_lock(hashtextextended('sweep ' || %s, 0))", [network.caip2]
        )
