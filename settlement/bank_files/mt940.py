"""A bank's statement as SWIFT MT940, with the tags of Kazakhstan's banks in field 86.

``/KNP/710/IDN/250140000013/NAME/…/ASSIGN/…``: KNP, BIN or IIN, name, and the purpose last, because
it may hold anything.
"""

import re
from datetime import date
from decimal import InvalidOperation
from itertools import pairwise
from typing import Any, Final

from mt940.models import Amount, Balance, Transaction, Transactions
from mt940.options import Options

from settlement.bank_files.statements import (
    BankStatement,
    StatementError,
    StatementLine,
    decoded,
    tiyn_from,
)
from settlement.money import Tiyn

TAG: Final = re.compile(r"/(NAME|IDN|IRS|SECO|NUM|DATE|KNP|ASSIGN)/")
LINE_CHARS: Final = 65
"""A line of field 86: a full one goes on in the middle of a word."""
NO_REFERENCE: Final = "NONREF"


def read_mt940(content: bytes) -> list[BankStatement]:
    """Read the statements of a file; raises StatementError."""
    blocks = re.split(r"(?m)^(?=:20:)", decoded(content))[1:]
    if not blocks:
        raise StatementError("The file holds no MT940 statement: no line begins with :20:.")
    return [_statement(block) for block in blocks]


def _statement(block: str) -> BankStatement:
    transactions = Transactions(options=Options.all())
    try:
        transactions.parse(block)
    except (RuntimeError, ValueError, KeyError, InvalidOperation, AssertionError) as error:
        raise StatementError(f"The MT940 statement cannot be read: {error}"[:300]) from None
    raws = re.split(r"(?m)^(?=:61:)", block)[1:]
    if len(raws) != len(transactions):
        raise StatementError(f"{len(raws)} lines of field 61 were read as {len(transactions)}.")
    opening_tiyn, begins_on = _balance(transactions.data, "opening")
    closing_tiyn, ends_on = _balance(transactions.data, "closing")
    lines = tuple(_line(one, raw) for one, raw in zip(transactions, raws, strict=True))
    return BankStatement(
        iban=str(transactions.data.get("account_identification", "")).partition("/")[0].strip(),
        begins_on=begins_on,
        ends_on=ends_on,
        opening_tiyn=opening_tiyn,
        closing_tiyn=closing_tiyn,
        lines=lines,
    )


def _line(transaction: Transaction, raw: str) -> StatementLine:
    data: dict[str, Any] = transaction.data
    if not data.get("id"):
        # Without a type the library cannot tell where the amount ends.
        raise StatementError(f"A line of field 61 has no type: {raw[:80]!r}")
    tags = _tags(str(data.get("transaction_details") or ""))
    reference = str(data.get("customer_reference") or "").strip()
    return StatementLine(
        booked_on=_day(data.get("entry_date") or data["date"]),
        amount_tiyn=_tiyn(data["amount"]),
        reference="" if reference == NO_REFERENCE else reference,
        bank_reference=str(data.get("bank_reference") or "").strip(),
        counterparty_name=tags.get("NAME", ""),
        counterparty_bin_or_iin=tags.get("IDN", ""),
        counterparty_iban="",
        purpose=tags.get("ASSIGN", ""),
        knp=tags.get("KNP", ""),
        raw=raw.strip(),
    )


def _tags(details: str) -> dict[str, str]:
    """Field 86 by its tags, the first of each; without any tag all of it is the purpose."""
    lines = details.split("\n")
    text = lines[0]
    for before, line in pairwise(lines):
        goes_on = line.startswith("/") or len(before) >= LINE_CHARS
        text += line if goes_on else f" {line}"
    head, assign, purpose = text.partition("/ASSIGN/")
    before, *rest = TAG.split(head)
    tags: dict[str, str] = {}
    for name, value in zip(rest[::2], rest[1::2], strict=True):
        tags.setdefault(name, value.strip())
    return {**tags, "ASSIGN": purpose.strip() if assign else before.strip()}


def _balance(data: dict[str, Any], name: str) -> tuple[Tiyn, date]:
    """A balance and its day; a message that goes on in the next has an intermediate one."""
    balance = data.get(f"final_{name}_balance") or data.get(f"intermediate_{name}_balance")
    if not isinstance(balance, Balance) or balance.date is None:
        raise StatementError(f"The MT940 statement has no {name} balance: it is cut short.")
    return _tiyn(balance.amount), _day(balance.date)


def _tiyn(amount: object) -> Tiyn:
    if not isinstance(amount, Amount) or amount.currency != "KZT":
        raise StatementError(f"An amount is not in tenge: {amount}")
    return tiyn_from(f"{amount.amount:f}", name="An amount", may_be_negative=True)


def _day(day: date) -> date:
    return date(day.year, day.month, day.day)
