"""What the checkout page knows of an invoice now: one answer to draw, poll and push."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from fractions import Fraction
from hashlib import blake2s
from math import ceil
from typing import Any, Final

from django.db.models import prefetch_related_objects

from chains.networks import registry
from chains.transfers import (
    TransferFact,
    TransferState,
    TransferTotal,
    newest_transfers_of,
    totals_of,
)
from merchants.invoices import COUNTED, Due, due_of, seconds_left
from merchants.models import Invoice
from settlement.clock import database_now
from settlement.formats import coins
from settlement.rates.quoting import QuoteFact, quotes_of, worth_exact, worth_of_one_step

PAYMENTS_SHOWN_MAX: Final = 10


class Stage(StrEnum):
    """What the page shows; time decides CHECKING before the expiry task has run."""

    OPEN = "open"
    PART = "part"
    DETECTED = "detected"
    CHECKING = "checking"
    PAID = "paid"
    EXPIRED = "expired"
    REVERSED = "reversed"


@dataclass(frozen=True, slots=True, kw_only=True)
class PaymentSeen:
    """One payment that the chain holds or has announced.

    ``amount`` is in whole coins, empty for an asset that has no row and left the registry.
    ``needed`` is how many confirmations make it final: 0 where the network's own tag decides, None
    where the network left the registry.
    """

    txid: str
    symbol: str
    amount: str
    state: TransferState
    confirmations: int
    needed: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkout:
    """The invoice as its page shows it; ``quotes`` are by CAIP-19, ``payments`` the newest few."""

    stage: Stage
    seconds_left: int
    due: Due
    received_tiyn: int
    left_tiyn: int
    is_overpaid: bool
    quotes: Mapping[str, QuoteFact]
    payments: Sequence[PaymentSeen]
    version: str

    def as_json(self) -> dict[str, Any]:
        """What an open page is told; it is drawn anew when ``version`` changes."""
        return {
            "version": self.version,
            "stage": self.stage,
            "seconds_left": self.seconds_left,
            "payments": [asdict(payment) for payment in self.payments],
        }


def checkout_of(invoice: Invoice) -> Checkout:
    """Read everything that the page of an invoice shows, in a handful of queries."""
    prefetch_related_objects([invoice], "options")
    options = {option.asset: option for option in invoice.options.all()}
    by_id = quotes_of([option.quote_id for option in options.values()])
    quotes = {asset: by_id[option.quote_id] for asset, option in options.items()}
    symbols = {asset: option.symbol for asset, option in options.items()}
    due = due_of(invoice)
    references = [str(invoice.pk)]
    totals = totals_of(references=references, states=COUNTED)
    shown = newest_transfers_of(references=references, states=COUNTED, limit=PAYMENTS_SHOWN_MAX)
    left_tiyn = ceil(due.left_tiyn)
    left_s = seconds_left(invoice, database_now())
    seen = "".join(f" {fact.identity}" for fact in shown)
    drawn = f"{invoice.status} {left_tiyn} {sum(one.count for one in totals)}{seen}"
    return Checkout(
        stage=_stage(invoice, due=due, left_s=left_s),
        seconds_left=left_s,
        due=due,
        received_tiyn=invoice.amount_tiyn - left_tiyn,
        left_tiyn=left_tiyn,
        is_overpaid=due.is_met and _exceeds(invoice.amount_tiyn, totals, quotes),
        quotes=quotes,
        payments=[_payment(fact, symbols, quotes) for fact in shown],
        version=blake2s(drawn.encode(), digest_size=8).hexdigest(),
    )


def _stage(invoice: Invoice, *, due: Due, left_s: int) -> Stage:
    ended = {
        Invoice.Status.SETTLED: Stage.PAID,
        Invoice.Status.EXPIRED: Stage.EXPIRED,
        Invoice.Status.REVERSED: Stage.REVERSED,
    }
    status = Invoice.Status(invoice.status)
    if status in ended:
        return ended[status]
    if due.is_met:
        return Stage.DETECTED
    if left_s == 0:
        return Stage.CHECKING
    return Stage.PART if status is Invoice.Status.PROCESSING else Stage.OPEN


def _exceeds(
    amount_tiyn: int, totals: Sequence[TransferTotal], quotes: Mapping[str, QuoteFact]
) -> bool:
    """Whether more came than rounding up explains, each coin at its own quote (R23, R27)."""
    priced = [total for total in totals if total.asset in quotes]
    worth = sum(
        (worth_exact(quotes[total.asset], quantity=total.value) for total in priced), Fraction(0)
    )
    steps = [worth_of_one_step(quotes[total.asset]) for total in priced]
    return worth - amount_tiyn >= max(steps, default=Fraction(1))


def _payment(
    fact: TransferFact, symbols: Mapping[str, str], quotes: Mapping[str, QuoteFact]
) -> PaymentSeen:
    """Its symbol and decimals come from the invoice's own rows, which outlive the registry's."""
    listed = registry()
    asset, network = listed.assets.get(fact.asset), listed.networks.get(fact.network)
    amount = ""
    if fact.asset in quotes:
        amount = coins(fact.value, quotes[fact.asset].decimals)
    elif asset is not None:
        amount = coins(fact.value, asset.decimals)
    fallback = asset.symbol if asset else fact.asset.partition("/")[2]
    needed = network.confirmations_for(fact.asset, fact.value) if network else None
    return PaymentSeen(
        # EVM explorers and wallets write a hash with its prefix.
        txid=f"0x{fact.txid}" if fact.network.startswith("eip155:") else fact.txid,
        symbol=symbols.get(fact.asset, fallback),
        amount=amount,
        state=fact.state,
        confirmations=min(fact.confirmations, needed) if needed else fact.confirmations,
        needed=needed,
    )
