"""What became of payouts: the bank's statement is taken in, and its lines are matched by number.

A line that agrees with a payout in number, amount and payee books; one that does not is shown to
people and books nothing. The same line in two statements is one.
"""

import hashlib
import re
from collections import Counter
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Final

from django.db import connection, transaction

from settlement.bank_files.orders import NUMBER_MAX
from settlement.bank_files.reading import read_statements
from settlement.bank_files.statements import BankStatement, StatementError, StatementLine
from settlement.calendar import almaty_day, city_calendar, day_begins_at
from settlement.clock import database_now, today
from settlement.ledger import lock_beneficiaries
from settlement.models import (
    BankLine,
    Payout,
    PayoutExport,
    PayoutOutcome,
    StatementFile,
    StatementSpan,
)
from settlement.payout_entries import confirm_payout, return_payout
from settlement.payout_states import PayoutError, PayoutFact, payout_fact
from settlement.payouts import checked_official, checked_reason, same_official

NUMBER: Final = re.compile(r"0*([1-9][0-9]{0,8})")
SHOWN_MAX: Final = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class Imported:
    """A statement that was taken in: lines that were new, lines known before, what they booked."""

    lines_new: int
    lines_known: int
    outcomes: tuple[PayoutFact, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenLine:
    """A line of the bank that booked nothing, and why."""

    line: int
    booked_on: date
    amount_tiyn: int
    reference: str
    counterparty_name: str
    counterparty_iban: str
    purpose: str
    why: str


def import_statement(
    *,
    content: bytes,
    name: str,
    imported_by: str,
    ibans: Collection[str],
    told: Callable[[PayoutFact], None] = lambda _payout: None,
) -> Imported:
    """Keep a statement of one of our accounts (``ibans``), and book what its lines say.

    The lines are stored in one transaction; then each payout is booked in its own, in which
    ``told`` hears of it. Whoever was stopped between imports the file again: what is known is not
    taken in twice. Raises StatementError, PayoutError; then nothing of the file is kept.
    """
    official = checked_official(imported_by)
    statements = read_statements(content, today=today())
    for statement in statements:
        if statement.iban not in ibans:
            raise StatementError(f"{statement.iban[:40]!r} is no account that we pay from.")
    lines = sum(len(statement.lines) for statement in statements)
    new = _keep(statements, content=content, name=name, imported_by=official)
    return Imported(lines_new=new, lines_known=lines - new, outcomes=tuple(match_lines(told=told)))


def match_lines(*, told: Callable[[PayoutFact], None]) -> list[PayoutFact]:
    """Book all that stored lines say of payouts and that is not booked yet; return what was.

    In the order of their days; what left an account comes before what came back.
    """
    return [fact for line in _candidates() if (fact := _record(line, told=told)) is not None]


def open_lines() -> list[OpenLine]:
    """The newest lines that booked nothing, for people; ``why`` says what speaks against each."""
    rows = list(BankLine.objects.filter(outcome=None).order_by("-booked_on", "-pk")[:SHOWN_MAX])
    payouts = _payouts_by_number([row.number for row in rows if row.number is not None])
    return [
        OpenLine(
            line=row.pk,
            booked_on=row.booked_on,
            amount_tiyn=row.amount_tiyn,
            reference=row.reference,
            counterparty_name=row.counterparty_name,
            counterparty_iban=row.counterparty_iban,
            purpose=row.purpose,
            why=_why_open(row, payouts.get(row.number or 0)),
        )
        for row in rows
    ]


@transaction.atomic
def give_up_payout(
    *,
    payout: int,
    decided_by: str,
    seconded_by: str,
    reason: str,
    told: Callable[[PayoutFact], None] = lambda _payout: None,
) -> PayoutFact:
    """Say that the bank never paid an exported payout: the shop is owed it again (R125).

    Two officials say so, and only once statements that were imported tell of every business day
    from the export to the day after the value day, and of no such payment. Raises PayoutError.
    """
    officials = checked_official(decided_by), checked_official(seconded_by)
    why = checked_reason(reason)
    if same_official(*officials):
        raise PayoutError("Two officials say that a payout was not paid, not one.")
    row = Payout.objects.filter(pk=payout).select_related("batch__export").first()
    if row is None:
        raise PayoutError(f"There is no payout {payout}.")
    lock_beneficiaries([row.beneficiary])
    _check_unpaid(row)
    PayoutOutcome.objects.create(
        payout=row,
        kind=PayoutOutcome.Kind.UNPAID,
        decided_by=officials[0],
        seconded_by=officials[1],
        reason=why,
    )
    return_payout(
        source=row.source, beneficiary=row.beneficiary, reason=why, effective_at=database_now()
    )
    fact = payout_fact(payout)
    told(fact)
    return fact


def _check_unpaid(payout: Payout) -> None:
    """Raise PayoutError unless statements tell that a payout was not paid."""
    exported = PayoutExport.objects.filter(batch=payout.batch_id).first()
    if exported is None:
        raise PayoutError(f"Payout {payout.pk} is not exported: cancel its batch.")
    if known := payout.outcomes.order_by("-pk").first():
        raise PayoutError(f"Payout {payout.pk} is {known.kind}.")
    if line := BankLine.objects.filter(number=payout.pk, iban=payout.batch.payer_iban).first():
        raise PayoutError(f"A line of the bank of {line.booked_on} has the number {payout.pk}.")
    calendar = city_calendar()
    last = calendar.value_day_after(payout.value_on)
    wanted = {
        day
        for day in _days(almaty_day(exported.exported_at), last)
        if calendar.is_business_day(day)
    }
    spans = StatementSpan.objects.filter(iban=payout.batch.payer_iban).select_related("file")
    for span in spans.filter(ends_on__gte=min(wanted), begins_on__lte=last):
        # A statement of the very day on which it was read may have been cut short.
        over = min(span.ends_on, almaty_day(span.file.imported_at) - timedelta(days=1))
        wanted -= set(_days(max(span.begins_on, min(wanted, default=last)), min(over, last)))
    if wanted:
        raise PayoutError(
            f"Import the statements first: none tells of {min(wanted)} to its end,"
            f" and payout {payout.pk} may have been paid then."
        )


def _days(first: date, last: date) -> Iterator[date]:
    return (first + timedelta(days=number) for number in range((last - first).days + 1))


@transaction.atomic
def _keep(
    statements: Collection[BankStatement], *, content: bytes, name: str, imported_by: str
) -> int:
    """Store a file and those of its lines that no other file told; return how many."""
    with connection.cursor() as cursor:
        # One import at a time: two files may tell of the same line.
        cursor.execute("SELECT pg_advisory_xact_lock(6, 1)")
    sha256 = hashlib.sha256(content).hexdigest()
    if StatementFile.objects.filter(sha256=sha256).exists():
        return 0
    file = StatementFile.objects.create(
        sha256=sha256, name=name[:255], content=content, imported_by=imported_by
    )
    rows: dict[str, BankLine] = {}
    for statement in statements:
        StatementSpan.objects.create(
            file=file,
            iban=statement.iban,
            begins_on=statement.begins_on,
            ends_on=statement.ends_on,
            opening_tiyn=statement.opening_tiyn,
            closing_tiyn=statement.closing_tiyn,
        )
        rows |= {row.key: row for row in _rows(statement, file=file)}
    known = set(BankLine.objects.filter(key__in=rows).values_list("key", flat=True))
    new = [row for key, row in rows.items() if key not in known]
    BankLine.objects.bulk_create(new)
    return len(new)


def _rows(statement: BankStatement, *, file: StatementFile) -> Iterator[BankLine]:
    """The lines to store; of equal ones that nothing names, each by its place among them."""
    told: Counter[str] = Counter()
    for line in statement.lines:
        identity = _identity(statement.iban, line)
        told[identity] += 1
        number = NUMBER.fullmatch(line.reference)
        yield BankLine(
            file=file,
            key=hashlib.sha256(f"{identity}\n{told[identity]}".encode()).hexdigest(),
            iban=statement.iban,
            booked_on=line.booked_on,
            amount_tiyn=line.amount_tiyn,
            number=int(number[1]) if number and int(number[1]) <= NUMBER_MAX else None,
            reference=line.reference,
            bank_reference=line.bank_reference,
            counterparty_name=line.counterparty_name,
            counterparty_bin_or_iin=line.counterparty_bin_or_iin,
            counterparty_iban=line.counterparty_iban,
            purpose=line.purpose,
            knp=line.knp,
            raw=line.raw,
        )


def _identity(iban: str, line: StatementLine) -> str:
    """What makes a line itself in every statement of the same form."""
    return "\n".join(
        (
            iban,
            str(line.booked_on),
            str(line.amount_tiyn),
            line.reference,
            line.bank_reference,
            line.counterparty_bin_or_iin,
            line.counterparty_iban,
            line.purpose,
        )
    )


def _candidates() -> list[BankLine]:
    """Lines that booked nothing and name a payout's number and amount, oldest first."""
    lines = BankLine.objects.filter(outcome=None, number__isnull=False)
    paid = lines.filter(
        number__in=Payout.objects.filter(outcomes=None, batch__export__isnull=False).values("pk")
    )
    back = lines.filter(
        number__in=Payout.objects.exclude(batch__export=None).values("pk"), amount_tiyn__gt=0
    )
    return sorted(paid.union(back), key=lambda one: (one.booked_on, one.amount_tiyn > 0, one.pk))


@transaction.atomic
def _record(line: BankLine, *, told: Callable[[PayoutFact], None]) -> PayoutFact | None:
    """Book what a line says of its payout; None where it does not agree with it."""
    payout = _payouts_by_number([line.number or 0]).get(line.number or 0)
    if payout is None:
        return None
    lock_beneficiaries([payout.beneficiary])
    if BankLine.objects.filter(pk=line.pk, outcome__isnull=False).exists():
        return None
    if _disagreement(line, payout):
        return None
    paid = line.amount_tiyn < 0
    PayoutOutcome.objects.create(
        payout=payout,
        kind=PayoutOutcome.Kind.PAID if paid else PayoutOutcome.Kind.RETURNED,
        line=line,
    )
    at = _moment_of(line.booked_on)
    if paid:
        confirm_payout(source=payout.source, beneficiary=payout.beneficiary, effective_at=at)
    else:
        return_payout(
            source=payout.source,
            beneficiary=payout.beneficiary,
            reason=line.purpose[:200] or "returned by the bank",
            effective_at=at,
        )
    fact = payout_fact(payout.pk)
    told(fact)
    return fact


def _moment_of(day: date) -> datetime:
    """The end of a day in Almaty, or now: a statement tells no time."""
    end = day_begins_at(day + timedelta(days=1)) - timedelta(microseconds=1)
    return min(end, database_now().astimezone(UTC))


def _payouts_by_number(numbers: Collection[int]) -> dict[int, Payout]:
    rows = Payout.objects.filter(pk__in=numbers).select_related("batch__export")
    return {row.pk: row for row in rows}


def _why_open(line: BankLine, payout: Payout | None) -> str:
    if payout is None or line.iban != payout.batch.payer_iban:
        return "unidentified: it names no payout of ours"
    return _disagreement(line, payout) or "not booked yet: import a statement again"


def _disagreement(line: BankLine, payout: Payout) -> str:
    """What speaks against a line being what became of a payout; empty where nothing does."""
    export: PayoutExport | None = getattr(payout.batch, "export", None)
    if line.iban != payout.batch.payer_iban:
        return "it is of another account"
    if export is None or line.booked_on < almaty_day(export.exported_at):
        return f"payout {payout.pk} was not exported by then"
    if abs(line.amount_tiyn) != payout.amount_tiyn:
        return f"payout {payout.pk} is of another amount: {payout.amount_tiyn} tiyn"
    return _other_payee(line, payout) or _out_of_turn(line, payout)


def _other_payee(line: BankLine, payout: Payout) -> str:
    """A line's payee where it is not the payout's; what the bank does not tell cannot differ.

    Money that came in must tell from whom: anybody may write any number on a payment to us.
    """
    if line.counterparty_iban and line.counterparty_iban != payout.payee_iban:
        return f"payout {payout.pk} goes to another account: {payout.payee_iban}"
    told = line.counterparty_bin_or_iin
    if told and told != payout.payee_bin_or_iin:
        return f"payout {payout.pk} goes to another BIN or IIN: {payout.payee_bin_or_iin}"
    if line.amount_tiyn > 0 and not (told or line.counterparty_iban):
        return f"it does not tell whether it comes from the payee of payout {payout.pk}"
    return ""


def _out_of_turn(line: BankLine, payout: Payout) -> str:
    """A line that tells again, or too early, what became of a payout."""
    kinds = set(payout.outcomes.values_list("kind", flat=True))
    if line.amount_tiyn < 0 and kinds:
        return f"payout {payout.pk} is {max(kinds)} already: was it paid twice?"
    if line.amount_tiyn > 0 and kinds != {PayoutOutcome.Kind.PAID}:
        return f"payout {payout.pk} came back already, or no statement tells yet that it was paid"
    return ""
