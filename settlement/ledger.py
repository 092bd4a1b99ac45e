"""Double entry: entries are posted, reversed and summed here, and nowhere else."""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from django.db import connection
from django.db.models import Sum

from settlement.accounts import CHART, AccountCode
from settlement.models import Account, JournalEntry, Posting
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
class Entry:
    """One entry to be posted; its fields are those of ``JournalEntry``."""

    kind: str
    source: str
    subject: str
    lines: Sequence[Line]
    effective_at: datetime
    demand: str = ""
    quote_id: UUID | None = None
    reverses_id: int | None = None
    memo: str = ""


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


def lock_demand(demand: str) -> None:
    """Let one transaction at a time book for a demand; held until the caller's transaction ends.

    An advisory lock, because the application's role has no right to lock rows of the ledger.
    """
    if not connection.in_atomic_block:
        raise LedgerError("An entry is posted inside the transaction that it belongs to.")
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(hashtextextended(%s, 2))", [demand])


def open_accounts(*, beneficiaries: Collection[str]) -> None:
    """Open the accounts of the chart that some beneficiaries, and the gateway itself, lack.

    Always in one order, so that two transactions that open accounts cannot deadlock.
    """
    known = set(
        Account.objects.filter(beneficiary__in={"", *beneficiaries}).values_list(
            "code", "beneficiary"
        )
    )
    missing = sorted(
        (code.code, owner, code.kind)
        for code in CHART
        for owner in (beneficiaries if code.per_beneficiary else [""])
        if (code.code, owner) not in known
    )
    Account.objects.bulk_create(
        [Account(code=code, beneficiary=owner, kind=kind) for code, owner, kind in missing],
        ignore_conflicts=True,
    )


def post_entries(entries: Sequence[Entry]) -> list[JournalEntry]:
    """Post balanced entries inside the caller's transaction and return them.

    Raises UnbalancedEntryError, TypeError for an amount that is not an int, LedgerError, and
    IntegrityError when a source was booked by another transaction meanwhile.
    """
    if not connection.in_atomic_block:
        raise LedgerError("An entry is posted inside the transaction that it belongs to.")
    for entry in entries:
        if sum(exact_int(line.amount_tiyn, name="amount_tiyn") for line in entry.lines) != 0:
            raise UnbalancedEntryError(f"{entry.source}: the lines do not sum to zero")
    accounts = _accounts(line for entry in entries for line in entry.lines)
    posted = JournalEntry.objects.bulk_create(
        JournalEntry(
            kind=entry.kind,
            source=entry.source,
            subject=entry.subject,
            demand=entry.demand,
            quote_id=entry.quote_id,
            reverses_id=entry.reverses_id,
            memo=entry.memo,
            effective_at=entry.effective_at,
        )
        for entry in entries
    )
    Posting.objects.bulk_create(
        Posting(
            entry=row,
            account=accounts[line.account.code, line.beneficiary],
            amount_tiyn=line.amount_tiyn,
            asset=line.asset,
            quantity=exact_int(line.quantity, name="quantity"),
        )
        for row, entry in zip(posted, entries, strict=True)
        for line in entry.lines
    )
    return posted


def reverse_entries(
    *, subjects: Collection[str], reason: str, effective_at: datetime
) -> list[JournalEntry]:
    """Post the mirrors of some subjects' standing entries; a subject without one has none.

    Call it under the lock of the demand that the entries belong to.
    """
    standing = standing_entries(subjects=subjects)
    codes = {one.code: one for one in CHART}
    return post_entries(
        [
            Entry(
                kind="reversal",
                source=f"{entry.source} reversed",
                subject=entry.subject,
                demand=entry.demand,
                lines=[
                    Line(
                        account=codes[posting.account.code],
                        beneficiary=posting.account.beneficiary,
                        amount_tiyn=-posting.amount_tiyn,
                        asset=posting.asset,
                        quantity=-int(posting.quantity),
                    )
                    for posting in entry.postings.all()
                ],
                effective_at=effective_at,
                quote_id=entry.quote_id,
                reverses_id=entry.pk,
                memo=reason,
            )
            for entry in standing
        ]
    )


def standing_entries(*, subjects: Collection[str]) -> list[JournalEntry]:
    """Entries about some subjects that are neither reversals nor reversed, postings included."""
    rows = JournalEntry.objects.filter(subject__in=subjects, reverses=None, reversed_by=None)
    return list(rows.prefetch_related("postings__account").order_by("pk"))


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


def _accounts(lines: Iterable[Line]) -> dict[tuple[str, str], Account]:
    """The accounts of some lines by code and beneficiary; opens those that are not there yet."""
    wanted = set()
    for line in lines:
        if line.account.per_beneficiary != bool(line.beneficiary):
            raise LedgerError(f"{line.account.code}: the beneficiary does not fit the chart")
        wanted.add((line.account.code, line.beneficiary))
    owners = {owner for _code, owner in wanted}
    rows = Account.objects.filter(beneficiary__in=owners)
    found = {(row.code, row.beneficiary): row for row in rows}
    if not wanted <= found.keys():
        open_accounts(beneficiaries=owners - {""})
        found = {(row.code, row.beneficiary): row for row in rows.all()}
    return found
