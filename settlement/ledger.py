"""Double entry: entries are posted, reversed and summed here, and nowhere else."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from django.db import connection, transaction
from django.db.models import Sum

from settlement.accounts import CHART, AccountCode
from settlement.models import Account, JournalEntry, Posting, Quote
from settlement.money import Tiyn, exact_int


class LedgerError(Exception):
    """A booking that the ledger refuses."""


class UnbalancedEntryError(LedgerError):
    """The lines of an entry do not sum to zero tiyn."""


class SourceConflictError(LedgerError):
    """A source was booked before with other figures."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One posting to be made: debit positive, credit negative, in tiyn and base units."""

    account: AccountCode
    amount_tiyn: int
    beneficiary: str = ""
    asset: str = ""
    quantity: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class BalanceRow:
    """One account's totals in tiyn; ``beneficiary`` is empty for the gateway's own accounts."""

    code: str
    title: str
    beneficiary: str
    debit_tiyn: int
    credit_tiyn: int


@dataclass(frozen=True, slots=True, kw_only=True)
class TrialBalance:
    """Every account's balance on its side; a sound ledger has a difference of zero."""

    rows: tuple[BalanceRow, ...]
    total_debit_tiyn: int
    total_credit_tiyn: int

    @property
    def difference_tiyn(self) -> int:
        """Debits less credits."""
        return self.total_debit_tiyn - self.total_credit_tiyn


def post_entry(
    *,
    kind: str,
    source: str,
    subject: str,
    lines: Sequence[Line],
    effective_at: datetime,
    quote: Quote | None = None,
    reverses: JournalEntry | None = None,
    memo: str = "",
) -> JournalEntry:
    """Post one balanced entry inside the caller's transaction and return it.

    Raises UnbalancedEntryError, TypeError for an amount that is not an int, and IntegrityError
    when ``source`` was booked by another transaction meanwhile.
    """
    if not connection.in_atomic_block:
        raise LedgerError("An entry is posted inside the transaction that it belongs to.")
    kept = [
        line for line in lines if exact_int(line.amount_tiyn, name="amount_tiyn") or line.quantity
    ]
    if sum(line.amount_tiyn for line in kept) != 0:
        raise UnbalancedEntryError(f"{source}: the lines do not sum to zero")
    entry = JournalEntry.objects.create(
        kind=kind,
        source=source,
        subject=subject,
        quote=quote,
        reverses=reverses,
        memo=memo,
        effective_at=effective_at,
    )
    Posting.objects.bulk_create(
        Posting(
            entry=entry,
            account=_account(line.account, line.beneficiary),
            amount_tiyn=line.amount_tiyn,
            asset=line.asset,
            quantity=exact_int(line.quantity, name="quantity"),
        )
        for line in kept
    )
    return entry


@transaction.atomic
def reverse_entry(*, subject: str, reason: str, effective_at: datetime) -> JournalEntry | None:
    """Post the mirror of a subject's standing entry; None when there is none to reverse.

    Locks the entry, so that of two callers one finds nothing left to reverse.
    """
    standing = JournalEntry.objects.filter(subject=subject, reverses=None, reversed_by=None)
    pk = standing.values_list("pk", flat=True).first()
    if pk is None:
        return None
    entry = JournalEntry.objects.select_for_update().get(pk=pk)
    if JournalEntry.objects.filter(reverses=entry).exists():
        return None
    codes = {one.code: one for one in CHART}
    lines = [
        Line(
            account=codes[posting.account.code],
            beneficiary=posting.account.beneficiary,
            amount_tiyn=-posting.amount_tiyn,
            asset=posting.asset,
            quantity=-int(posting.quantity),
        )
        for posting in entry.postings.select_related("account").order_by("id")
    ]
    return post_entry(
        kind="reversal",
        source=f"{entry.source} reversed",
        subject=subject,
        lines=lines,
        effective_at=effective_at,
        quote=entry.quote,
        reverses=entry,
        memo=reason,
    )


def balance_of(account: AccountCode, *, beneficiary: str = "") -> Tiyn:
    """Return an account's balance in tiyn, debit positive."""
    postings = Posting.objects.filter(account__code=account.code, account__beneficiary=beneficiary)
    return Tiyn(postings.aggregate(total=Sum("amount_tiyn"))["total"] or 0)


def trial_balance() -> TrialBalance:
    """Sum every account; one query, the same snapshot for all rows."""
    sums = (
        Account.objects.values("code", "beneficiary")
        .annotate(total=Sum("postings__amount_tiyn"))
        .order_by("code", "beneficiary")
    )
    titles = {one.code: one.title for one in CHART}
    rows = tuple(
        BalanceRow(
            code=row["code"],
            title=titles[row["code"]],
            beneficiary=row["beneficiary"],
            debit_tiyn=max(row["total"], 0),
            credit_tiyn=max(-row["total"], 0),
        )
        for row in sums
        if row["total"] is not None
    )
    return TrialBalance(
        rows=rows,
        total_debit_tiyn=sum(row.debit_tiyn for row in rows),
        total_credit_tiyn=sum(row.credit_tiyn for row in rows),
    )


def _account(account: AccountCode, beneficiary: str) -> Account:
    if account.per_beneficiary != bool(beneficiary):
        raise LedgerError(f"{account.code}: the beneficiary does not fit the chart")
    return Account.objects.get_or_create(
        code=account.code, beneficiary=beneficiary, defaults={"kind": account.kind}
    )[0]
