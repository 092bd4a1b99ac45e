"""A bank's statement as every format gives it, and what makes it believable."""

import re
from collections import Counter
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import Final

from settlement.formats import tenge_plain
from settlement.money import Tiyn

FILE_BYTES_MAX: Final = 16 * 1024 * 1024
"""Ten thousand lines and more in every form; read within seconds and half a gigabyte."""
FIRST_DAY: Final = date(2020, 1, 1)
"""No account of ours is older: a line before it is a misread date."""


class StatementError(ValueError):
    """A statement that cannot be read or believed; nothing of it may be booked."""


class StatementMismatchError(StatementError):
    """The opening balance and the lines do not come to the closing balance."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StatementLine:
    """One movement: what came in is positive, what went out is negative.

    ``reference`` is the customer's own (the number of our payment order), ``bank_reference`` the
    bank's. What a format does not tell is empty. ``raw`` is the line as the bank wrote it.
    """

    booked_on: date
    amount_tiyn: Tiyn
    reference: str
    bank_reference: str
    counterparty_name: str
    counterparty_bin_or_iin: str
    counterparty_iban: str
    purpose: str
    knp: str
    raw: str


@dataclass(frozen=True, slots=True, kw_only=True)
class BankStatement:
    """An account's movements between two balances, both days included."""

    iban: str
    begins_on: date
    ends_on: date
    opening_tiyn: Tiyn
    closing_tiyn: Tiyn
    lines: tuple[StatementLine, ...]


def check_statement(statement: BankStatement, *, today: date) -> None:
    """Raise StatementError for what cannot be, StatementMismatchError if the sums do not agree."""
    if not FIRST_DAY <= statement.begins_on <= statement.ends_on <= today:
        raise StatementError(
            f"{statement.iban}: a statement from {statement.begins_on} to {statement.ends_on}"
            f" is not within {FIRST_DAY} and today, {today}."
        )
    for line in statement.lines:
        if not statement.begins_on <= line.booked_on <= statement.ends_on:
            raise StatementError(
                f"{statement.iban}: a line of {line.booked_on} is not within the statement's days,"
                f" {statement.begins_on} to {statement.ends_on}: {line.raw!r}"
            )
    # Equal lines are two only if nothing names them: equal fees of one day, say.
    told = Counter(line for line in statement.lines if line.reference or line.bank_reference)
    for line, times in told.items():
        if times > 1:
            raise StatementError(f"{statement.iban}: a line stands {times} times: {line.raw!r}")
    moved_tiyn = sum(line.amount_tiyn for line in statement.lines)
    require_equal(
        statement.opening_tiyn + moved_tiyn,
        statement.closing_tiyn,
        name=f"{statement.iban}: opening balance and lines, and the closing balance",
    )


def require_equal(ours_tiyn: int, theirs_tiyn: int, *, name: str) -> None:
    """Raise StatementMismatchError, with the difference, unless two sums are equal."""
    if ours_tiyn != theirs_tiyn:
        raise StatementMismatchError(
            f"{name} differ by {tenge_plain(theirs_tiyn - ours_tiyn)}:"
            f" {tenge_plain(ours_tiyn)} and {tenge_plain(theirs_tiyn)}."
        )


def tiyn_from(text: str, *, name: str, may_be_negative: bool = False) -> Tiyn:
    """Read tenge with a decimal point as tiyn; raises StatementError for anything else."""
    sign = "-?" if may_be_negative else ""
    if not re.fullmatch(rf"{sign}[0-9]{{1,15}}(\.[0-9]{{1,2}})?", text):
        raise StatementError(f"{name} is not an amount in tenge and tiyn: {text[:40]!r}")
    return Tiyn(int(Decimal(text) * 100))


def decoded(content: bytes) -> str:
    """Read a text file as UTF-8, with or without a BOM, else as cp1251; line ends become LF.

    Text in cp1251 is never valid UTF-8, save where both are ASCII.
    """
    if content.startswith((b"\xff\xfe", b"\xfe\xff")) or b"\x00" in content:
        raise StatementError("The file is UTF-16 or no text: save it as UTF-8.")
    for encoding in ("utf-8-sig", "cp1251"):
        try:
            return content.decode(encoding).replace("\r\n", "\n").replace("\r", "\n")
        except UnicodeDecodeError:
            continue
    raise StatementError("The file is neither UTF-8 nor cp1251 (Windows): save it as UTF-8.")
