"""Double entry: entries are posted, reversed and summed here, and nowhere else."""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final
from uuid import UUID

from django.db import connection
from django.db.models import Sum

from settlement.accounts import CHART, AccountCode
from settlement.models import Account, JournalEntry, Posting
from settlement.money import Tiyn, exact_int

POST: Final = f"SELECT settlement_post({', '.join(['%s'] * 15)})"
"""The one way into the journal (``migrations/posting.sql``)."""
SEPARATOR, NULL = "\x1f", "\x1e"
"""A column of values travels as one text: a thousand times cheaper to write and to read."""


class LedgerError(Exception):
    """A booking that the ledger refuses."""


class UnbalancedEntryError(LedgerError):
    """The lines of an entry do not sum to zero, in tiyn or in an asset's base units."""


class InsufficientFundsError(LedgerError):
    """More is asked for than there is (R124)."""


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


def lock_beneficiaries(names: Collection[str]) -> None:
    """Let one transaction at a time book for some beneficiaries; held until the caller's ends.

    Advisory locks, because the application's role has no right to lock rows of the ledger; taken
    by name, so that two that lock many at once cannot deadlock. A transaction that books for many
    locks them all at once, before it posts for the first.
    """
    _lock("SELECT settlement_lock_beneficiaries(%s)", names)


def lock_assets(names: Collection[str]) -> None:
    """Let one transaction at a time move coins of some assets; after the beneficiaries' locks."""
    _lock("SELECT settlement_lock_assets(%s)", names)


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


def post_entries(entries: Sequence[Entry]) -> list[int]:
    """Post balanced entries inside the caller's transaction, in one round trip; return their ids.

    ``effective_at`` is when it happened. An event of a closed day takes effect on the first open
    one, an event of a clock ahead of ours now; its true time is kept. Locks the beneficiaries.
    Raises UnbalancedEntryError, TypeError for an amount that is not an int, LedgerError, and
    IntegrityError when a source was booked by another transaction, or for an overdraft.
    """
    _check_atomic()
    if not entries:
        return []
    lines = [(place, line) for place, one in enumerate(entries, 1) for line in _checked(one)]
    columns: list[Iterable[str]] = [
        (one.kind for one in entries),
        (one.source for one in entries),
        (one.subject for one in entries),
        (one.demand for one in entries),
        (str(one.quote_id or NULL) for one in entries),
        (str(one.reverses_id or NULL) for one in entries),
        (one.memo for one in entries),
        (one.effective_at.isoformat() for one in entries),
        (str(place) for place, _line in lines),
        (line.account.code for _place, line in lines),
        (line.account.kind for _place, line in lines),
        (line.beneficiary for _place, line in lines),
        (str(line.amount_tiyn) for _place, line in lines),
        (line.asset for _place, line in lines),
        (str(line.quantity) for _place, line in lines),
    ]
    sizes = (*(len(entries),) * 8, *(len(lines),) * 7)
    with connection.cursor() as cursor:
        cursor.execute(POST, [_joined(*column) for column in zip(columns, sizes, strict=True)])
        ids: list[int] = cursor.fetchone()[0]
    return ids


def reverse_entries(*, subjects: Collection[str], reason: str, effective_at: datetime) -> list[int]:
    """Post the mirrors of some subjects' standing entries; a subject without one has none.

    Call it under the locks of the beneficiaries that the entries belong to. Returns the ids.
    """
    return post_entries(
        [
            Entry(
                kind="reversal",
                source=f"{entry.source} reversed",
                subject=entry.subject,
                demand=entry.demand,
                lines=mirrored(entry),
                effective_at=effective_at,
                quote_id=entry.quote_id,
                reverses_id=entry.pk,
                memo=reason,
            )
            for entry in standing_entries(subjects=subjects)
        ]
    )


def mirrored(entry: JournalEntry) -> list[Line]:
    """The lines that undo an entry."""
    codes = {one.code: one for one in CHART}
    return [
        Line(
            account=codes[posting.account.code],
            beneficiary=posting.account.beneficiary,
            amount_tiyn=-posting.amount_tiyn,
            asset=posting.asset,
            quantity=-int(posting.quantity),
        )
        for posting in entry.postings.all()
    ]


def standing_entries(*, subjects: Collection[str]) -> list[JournalEntry]:
    """Entries about some subjects that are neither reversals nor reversed, postings included."""
    rows = JournalEntry.objects.filter(subject__in=subjects, reverses=None, reversed_by=None)
    return list(rows.prefetch_related("postings__account").order_by("pk"))


def moved(
    *, debit: AccountCode, credit: AccountCode, amount_tiyn: int, beneficiary: str = ""
) -> list[Line]:
    """The two lines that move an amount; the beneficiary is for those accounts that have one."""
    return [
        Line(
            account=account,
            amount_tiyn=tiyn,
            beneficiary=beneficiary if account.per_beneficiary else "",
        )
        for account, tiyn in ((debit, amount_tiyn), (credit, -amount_tiyn))
    ]


def steps_of(subject: str) -> dict[str, JournalEntry]:
    """The entries about a subject that was booked step by step, by kind, postings included."""
    rows = JournalEntry.objects.filter(subject=subject).prefetch_related("postings__account")
    return {entry.kind: entry for entry in rows.order_by("pk")}


def amount_on(entry: JournalEntry, account: AccountCode, *, beneficiary: str = "") -> int:
    """Tiyn that an entry posted to an account, debit positive."""
    return sum(
        posting.amount_tiyn
        for posting in entry.postings.all()
        if (posting.account.code, posting.account.beneficiary) == (account.code, beneficiary)
    )


def balance_of(account: AccountCode, *, beneficiary: str = "") -> Tiyn:
    """Return an account's balance in tiyn, debit positive.

    A beneficiary's account says it in its newest posting; the gateway's own are summed.
    """
    postings = Posting.objects.filter(account__code=account.code, account__beneficiary=beneficiary)
    if account.per_beneficiary:
        newest = postings.order_by("-pk").values_list("balance_tiyn", flat=True).first()
        return Tiyn(newest or 0)
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


def _lock(statement: str, names: Collection[str]) -> None:
    _check_atomic()
    with connection.cursor() as cursor:
        cursor.execute(statement, [list(names)])


def _joined(values: Iterable[str], count: int) -> str:
    """A column as the database reads it; raises LedgerError for a value that holds a separator."""
    text = SEPARATOR.join(["", *values])
    if text.count(SEPARATOR) != count:
        raise LedgerError("A value holds a control character.")
    return text


def _check_atomic() -> None:
    if not connection.in_atomic_block:
        raise LedgerError("An entry is posted inside the transaction that it belongs to.")


def _checked(entry: Entry) -> Sequence[Line]:
    """The lines of an entry that fits the chart and balances, in tiyn and in each asset's units."""
    units: dict[str, int] = {}
    for line in entry.lines:
        if line.account.per_beneficiary != bool(line.beneficiary):
            raise LedgerError(f"{line.account.code}: the beneficiary does not fit the chart")
        exact_int(line.quantity, name="quantity")
        units[line.asset] = units.get(line.asset, 0) + line.quantity
    if sum(exact_int(line.amount_tiyn, name="amount_tiyn") for line in entry.lines) != 0:
        raise UnbalancedEntryError(f"{entry.source}: the lines do not sum to zero")
    if any(units.values()):
        raise UnbalancedEntryError(f"{entry.source}: the quantities do not sum to zero")
    return entry.lines
