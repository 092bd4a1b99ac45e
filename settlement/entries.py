"""One function for each business event; each posts one entry, once for its source."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from math import floor
from typing import Final
from uuid import UUID

from django.db.models import Sum

from settlement.accounts import COINS_HELD, MERCHANT_PAYABLE, OVERPAYMENTS, ROUNDING, UNIDENTIFIED
from settlement.ledger import Line, SourceConflictError, post_entry, reverse_entry
from settlement.models import JournalEntry, Posting, Quote
from settlement.money import exact_int, worth_exact, worth_of_one_step

LOST_TIYN_MAX: Final = 10
"""Less than a tiyn is lost for each coin that an invoice is paid in."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReceiptBooked:
    """What a receipt came to in tiyn; ``already`` tells that an earlier call had booked it."""

    entry_id: int
    worth_tiyn: int
    payable_tiyn: int
    excess_tiyn: int
    already: bool


def book_receipt(
    *,
    source: str,
    beneficiary: str,
    quote_id: UUID,
    quantity: int,
    owed_tiyn: int,
    completes: bool = False,
    effective_at: datetime,
) -> ReceiptBooked:
    """Book coins received for an invoice: up to ``owed_tiyn`` is owed to ``beneficiary``.

    ``quantity`` is in base units of the quote's asset. The worth is taken over all that came on
    the quote so far, so that a payment in parts loses no tiyn. What exceeds ``owed_tiyn`` goes to
    rounding when it is less than the worth of one payable step, else to overpayments.
    ``completes`` says that the invoice is paid with this receipt: ``owed_tiyn`` is owed whole, and
    the tiyn that rounding each coin down has lost comes from rounding. Call it inside the
    transaction that settles the invoice; it locks the quote. Raises SourceConflictError when
    ``source`` was booked with other figures, Quote.DoesNotExist, TypeError.
    """
    exact_int(quantity, name="quantity")
    exact_int(owed_tiyn, name="owed_tiyn")
    quote = Quote.objects.select_for_update().get(pk=quote_id)
    booked = _booked(source, quote=quote, quantity=quantity, beneficiary=beneficiary)
    if booked is not None:
        return booked
    before = Posting.objects.filter(entry__quote=quote, account__code=COINS_HELD.code).aggregate(
        quantity=Sum("quantity"), worth=Sum("amount_tiyn")
    )
    worth_of_all = worth_exact(
        quantity=int(before["quantity"] or 0) + quantity,
        price_tiyn=quote.price_tiyn,
        decimals=quote.decimals,
    )
    unrounded = worth_of_all - (before["worth"] or 0)
    worth = max(0, floor(unrounded))
    payable = min(worth, max(0, owed_tiyn))
    if completes and owed_tiyn - worth <= LOST_TIYN_MAX:
        payable = max(0, owed_tiyn)
    excess = worth - payable
    # An exact payment exceeds by what quantity_rounded_up added: less than one step's worth.
    step_tiyn = worth_of_one_step(price_tiyn=quote.price_tiyn, decimals=quote.decimals)
    is_rounding = payable > 0 and unrounded - payable < step_tiyn
    lines = [
        Line(account=COINS_HELD, amount_tiyn=worth, asset=quote.asset, quantity=quantity),
        Line(account=MERCHANT_PAYABLE, beneficiary=beneficiary, amount_tiyn=-payable),
        Line(account=ROUNDING, amount_tiyn=-excess)
        if is_rounding
        else Line(account=OVERPAYMENTS, beneficiary=beneficiary, amount_tiyn=-excess),
    ]
    if worth == 0:
        # Dust worth less than a tiyn still is a receipt; the entry carries its quantity.
        dust = Line(
            account=UNIDENTIFIED,
            beneficiary=beneficiary,
            amount_tiyn=0,
            asset=quote.asset,
            quantity=-quantity,
        )
        lines.append(dust)
    entry = post_entry(
        kind="receipt",
        source=_free_source(source),
        subject=source,
        lines=lines,
        effective_at=effective_at,
        quote=quote,
    )
    return ReceiptBooked(
        entry_id=entry.pk, worth_tiyn=worth, payable_tiyn=payable, excess_tiyn=excess, already=False
    )


def paid_tiyn_of(*, sources: Sequence[str]) -> int:
    """Tiyn that the receipts booked for some sources, and not reversed, added to merchants' due."""
    postings = Posting.objects.filter(
        entry__subject__in=sources,
        entry__reverses=None,
        entry__reversed_by=None,
        account__code=MERCHANT_PAYABLE.code,
    )
    return -(postings.aggregate(total=Sum("amount_tiyn"))["total"] or 0)


def reverse_receipt(*, source: str, reason: str, effective_at: datetime) -> bool:
    """Undo a receipt that the chain took back, by a mirrored entry; False if none stands."""
    return reverse_entry(subject=source, reason=reason, effective_at=effective_at) is not None


def _free_source(source: str) -> str:
    """The unique name of the next entry: the chain may take a receipt back and bring it again."""
    times = JournalEntry.objects.filter(subject=source, reverses=None).count()
    return source if times == 0 else f"{source} again {times}"


def _booked(source: str, *, quote: Quote, quantity: int, beneficiary: str) -> ReceiptBooked | None:
    entry = JournalEntry.objects.filter(subject=source, reverses=None, reversed_by=None).first()
    if entry is None:
        return None
    postings = list(entry.postings.select_related("account"))
    held = next(one for one in postings if one.account.code == COINS_HELD.code)
    owners = {one.account.beneficiary for one in postings} - {""}
    if entry.quote_id != quote.pk or held.quantity != quantity or not owners <= {beneficiary}:
        raise SourceConflictError(f"{source} was booked before with other figures")
    payable = -sum(one.amount_tiyn for one in postings if one.account.code == MERCHANT_PAYABLE.code)
    return ReceiptBooked(
        entry_id=entry.pk,
        worth_tiyn=held.amount_tiyn,
        payable_tiyn=payable,
        excess_tiyn=held.amount_tiyn - payable,
        already=True,
    )
