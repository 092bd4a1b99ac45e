"""One function for each business event; each posts its entries once.

An invoice is a *demand* here: a beneficiary, an amount in tiyn, and the receipts that came for it.
A receipt is booked by itself, to ``unsettled_receipts``. What the receipts together come to is an
allocation: a pure function of the amount, the quotes and the quantities that stand, in whatever
order they came or went. ``allocate`` posts what the ledger lacks of it.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from fractions import Fraction
from math import floor
from typing import Final
from uuid import UUID

from django.db.models import Count, Sum

from settlement.accounts import (
    COINS_HELD,
    COINS_OUTSIDE,
    MERCHANT_PAYABLE,
    OVERPAYMENTS,
    ROUNDING,
    UNIDENTIFIED,
    UNSETTLED_RECEIPTS,
    AccountCode,
)
from settlement.ledger import (
    Entry,
    LedgerError,
    Line,
    SourceConflictError,
    lock_beneficiaries,
    post_entries,
    reverse_entries,
    standing_entries,
)
from settlement.models import JournalEntry, Posting, Quote
from settlement.money import exact_int, worth_exact, worth_of_one_step
from settlement.receivables import with_receivable

ALLOCATED: Final[Mapping[str, AccountCode]] = {
    account.code: account
    for account in (
        COINS_HELD,
        COINS_OUTSIDE,
        MERCHANT_PAYABLE,
        UNSETTLED_RECEIPTS,
        OVERPAYMENTS,
        ROUNDING,
    )
}
"""The accounts that a demand's allocation speaks of."""
CHAINS_WORD: Final = ("receipt", "reversal", "allocation")
"""Entries that follow from what stands on chain; fees and refunds of a demand do not."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Receipt:
    """Coins that came: ``quantity`` base units of a CAIP-19 asset.

    ``quote_id`` is the price that the payer was promised, None where none was.
    """

    source: str
    asset: str
    quote_id: UUID | None
    quantity: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Received:
    """All that stands for a demand on one quote, in base units: in time, and too late."""

    quote_id: UUID
    on_time: int
    late: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Allocation:
    """Where the tiyn that came for a demand belong; their sum is what the coins are worth."""

    payable_tiyn: int
    unsettled_tiyn: int
    overpaid_tiyn: int
    rounding_tiyn: int

    @property
    def is_settled(self) -> bool:
        """Whether the demand is met."""
        return self.payable_tiyn > 0


def book_receipts(
    *, demand: str, beneficiary: str, receipts: Sequence[Receipt], effective_at: datetime
) -> int:
    """Book coins received for a demand, each once for its source; return how many entries.

    One worth less than a tiyn gets no entry of its own: ``allocate`` books all such together. One
    without a quote stands in ``unidentified`` with its quantity and no tiyn. Call it, and then
    ``allocate``, inside the transaction that settles the invoice. Raises SourceConflictError when
    a source was booked with other figures, LedgerError for a quote that is not there, TypeError.
    """
    lock_beneficiaries([beneficiary])
    quotes = _quotes({one.quote_id for one in receipts if one.quote_id is not None})
    sources = [one.source for one in receipts]
    standing = {entry.subject: entry for entry in standing_entries(subjects=sources)}
    times = _times_booked(sources)
    entries = []
    for receipt in receipts:
        exact_int(receipt.quantity, name="quantity")
        if receipt.source in standing:
            _check_same(standing[receipt.source], receipt, beneficiary)
            continue
        quote = quotes[receipt.quote_id] if receipt.quote_id is not None else None
        lines = _lines_of(receipt, quote, beneficiary)
        number = times.get(receipt.source, 0)
        entry = Entry(
            kind="receipt",
            # The chain may take a receipt back and bring it again.
            source=f"{receipt.source} again {number}" if number else receipt.source,
            subject=receipt.source,
            demand=demand,
            lines=lines,
            effective_at=effective_at,
            quote_id=receipt.quote_id,
        )
        if lines:
            entries.append(entry)
    return len(post_entries(entries))


def reverse_receipts(
    *, beneficiary: str, sources: Collection[str], reason: str, effective_at: datetime
) -> int:
    """Undo receipts that the chain took back, by mirrored entries; return how many stood.

    Call ``allocate`` afterwards.
    """
    lock_beneficiaries([beneficiary])
    return len(reverse_entries(subjects=sources, reason=reason, effective_at=effective_at))


def allocate(
    *,
    demand: str,
    beneficiary: str,
    amount_tiyn: int,
    received: Collection[Received],
    effective_at: datetime,
) -> Allocation:
    """Post what the ledger lacks of a demand's allocation, and return the allocation.

    ``received`` names every quote of the demand, with all that stands on it now. Raises
    LedgerError for a quote that is not there, TypeError.
    """
    lock_beneficiaries([beneficiary])
    quotes = _quotes({one.quote_id for one in received})
    allocation = allocation_of(amount_tiyn=amount_tiyn, received=received, quotes=quotes)
    wanted = _lines_wanted(allocation, received, quotes, beneficiary)
    lines = _sums([*wanted, *_lines_undone(demand, {quote.asset for quote in quotes.values()})])
    if lines:
        number = JournalEntry.objects.filter(subject=demand).count() + 1
        entry = Entry(
            kind="allocation",
            source=f"{demand} allocation {number}",
            subject=demand,
            demand=demand,
            lines=lines,
            effective_at=effective_at,
        )
        post_entries(with_receivable(entry, beneficiary=beneficiary))
    return allocation


def allocation_of(
    *, amount_tiyn: int, received: Collection[Received], quotes: Mapping[UUID, Quote]
) -> Allocation:
    """Reckon where what came for a demand belongs, each coin at its own quote (R27, R28); pure.

    Worth is rounded down once, over everything, so that parts lose no tiyn. What came in time and
    reaches the amount is owed to the shop up to the amount; what exceeds it is the payer's, save
    less than one payable step, which rounding up has added.
    """
    exact_int(amount_tiyn, name="amount_tiyn")
    exact = sum((_worth(quotes[one.quote_id], one.on_time) for one in received), Fraction(0))
    total = sum(
        (_worth(quotes[one.quote_id], one.on_time + one.late) for one in received), Fraction(0)
    )
    late_tiyn = floor(total) - floor(exact)
    if exact < amount_tiyn:
        return Allocation(
            payable_tiyn=0, unsettled_tiyn=floor(exact), overpaid_tiyn=late_tiyn, rounding_tiyn=0
        )
    excess_tiyn = floor(exact) - amount_tiyn
    steps = [_worth_of_step(quotes[one.quote_id]) for one in received if one.on_time]
    is_rounding = exact - amount_tiyn < max(steps, default=Fraction(0))
    return Allocation(
        payable_tiyn=amount_tiyn,
        unsettled_tiyn=0,
        overpaid_tiyn=late_tiyn + (0 if is_rounding else excess_tiyn),
        rounding_tiyn=excess_tiyn if is_rounding else 0,
    )


def _lines_wanted(
    allocation: Allocation,
    received: Collection[Received],
    quotes: Mapping[UUID, Quote],
    beneficiary: str,
) -> list[Line]:
    """What the demand's accounts must hold: coins at their cost against whom they belong to."""
    owed = (
        (MERCHANT_PAYABLE, allocation.payable_tiyn),
        (UNSETTLED_RECEIPTS, allocation.unsettled_tiyn),
        (OVERPAYMENTS, allocation.overpaid_tiyn),
        (ROUNDING, allocation.rounding_tiyn),
    )
    lines = [
        Line(
            account=account,
            beneficiary=beneficiary if account.per_beneficiary else "",
            amount_tiyn=-amount_tiyn,
        )
        for account, amount_tiyn in owed
    ]
    # The one rounding is spread so that the coins' costs sum to what is owed.
    worth = Fraction(0)
    for one in sorted(received, key=lambda row: quotes[row.quote_id].asset):
        quote, before, quantity = quotes[one.quote_id], floor(worth), one.on_time + one.late
        worth += _worth(quote, quantity)
        cost_tiyn = floor(worth) - before
        lines += [
            Line(account=COINS_HELD, amount_tiyn=cost_tiyn, asset=quote.asset, quantity=quantity),
            Line(account=COINS_OUTSIDE, amount_tiyn=0, asset=quote.asset, quantity=-quantity),
        ]
    return lines


def _lines_undone(demand: str, assets: Collection[str]) -> list[Line]:
    """The mirror of what the demand's accounts hold; coins without a quote are left alone."""
    rows = (
        Posting.objects.filter(entry__demand=demand, entry__kind__in=CHAINS_WORD)
        .values("account__code", "account__beneficiary", "asset")
        .annotate(tiyn=Sum("amount_tiyn"), units=Sum("quantity"))
        .order_by("account__code", "account__beneficiary", "asset")
    )
    return [
        Line(
            account=ALLOCATED[row["account__code"]],
            beneficiary=row["account__beneficiary"],
            amount_tiyn=-int(row["tiyn"]),
            asset=row["asset"],
            quantity=-int(row["units"]),
        )
        for row in rows
        if row["account__code"] in ALLOCATED and (not row["asset"] or row["asset"] in assets)
    ]


def _sums(lines: Sequence[Line]) -> list[Line]:
    """One line for each account and asset, and none where nothing is left."""
    totals: dict[tuple[AccountCode, str, str], tuple[int, int]] = {}
    for line in lines:
        key = (line.account, line.beneficiary, line.asset)
        tiyn, units = totals.get(key, (0, 0))
        totals[key] = (tiyn + line.amount_tiyn, units + line.quantity)
    return [
        Line(
            account=account,
            beneficiary=beneficiary,
            amount_tiyn=tiyn,
            asset=asset,
            quantity=units,
        )
        for (account, beneficiary, asset), (tiyn, units) in sorted(
            totals.items(), key=lambda item: (item[0][0].code, item[0][2])
        )
        if tiyn or units
    ]


def _lines_of(receipt: Receipt, quote: Quote | None, beneficiary: str) -> list[Line]:
    """A receipt's own lines; none when it is worth less than a tiyn."""
    worth_tiyn = floor(_worth(quote, receipt.quantity)) if quote else 0
    if quote and not worth_tiyn:
        return []
    held = Line(
        account=COINS_HELD,
        amount_tiyn=worth_tiyn,
        asset=receipt.asset,
        quantity=receipt.quantity,
    )
    if not quote:
        owed = Line(
            account=UNIDENTIFIED,
            beneficiary=beneficiary,
            amount_tiyn=0,
            asset=receipt.asset,
            quantity=-receipt.quantity,
        )
        return [held, owed]
    owed = Line(account=UNSETTLED_RECEIPTS, beneficiary=beneficiary, amount_tiyn=-worth_tiyn)
    outside = Line(
        account=COINS_OUTSIDE, amount_tiyn=0, asset=receipt.asset, quantity=-receipt.quantity
    )
    return [held, owed, outside]


def _check_same(entry: JournalEntry, receipt: Receipt, beneficiary: str) -> None:
    """Raise SourceConflictError unless a standing entry says what the receipt says."""
    postings = list(entry.postings.all())
    held = next(one for one in postings if one.account.code == COINS_HELD.code)
    owners = {one.account.beneficiary for one in postings} - {""}
    booked = (entry.quote_id, held.asset, int(held.quantity), owners)
    if booked != (receipt.quote_id, receipt.asset, receipt.quantity, {beneficiary}):
        raise SourceConflictError(f"{receipt.source} was booked before with other figures")


def _times_booked(sources: Collection[str]) -> dict[str, int]:
    rows = JournalEntry.objects.filter(subject__in=sources, reverses=None)
    return dict(rows.values_list("subject").annotate(times=Count("pk")).order_by("subject"))


def _quotes(ids: Collection[UUID]) -> dict[UUID, Quote]:
    quotes = Quote.objects.in_bulk(ids)
    if len(quotes) != len(ids):
        raise LedgerError("A quote that coins came for is not there.")
    return quotes


def _worth(quote: Quote, quantity: int) -> Fraction:
    return worth_exact(quantity=quantity, price_tiyn=quote.price_tiyn, decimals=quote.decimals)


def _worth_of_step(quote: Quote) -> Fraction:
    return worth_of_one_step(price_tiyn=quote.price_tiyn, decimals=quote.decimals)
