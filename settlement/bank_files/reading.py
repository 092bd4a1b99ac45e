"""A bank's statement in: whatever its form, the same lines, believed only if the sums agree."""

from datetime import date

from settlement.bank_files.camt053 import read_camt053
from settlement.bank_files.mt940 import read_mt940
from settlement.bank_files.one_c import SIGNATURE
from settlement.bank_files.one_c_statement import read_one_c
from settlement.bank_files.statements import (
    FILE_BYTES_MAX,
    BankStatement,
    StatementError,
    check_statement,
)


def read_statements(content: bytes, *, today: date) -> list[BankStatement]:
    """Read a file as 1C, camt.053 or MT940, and check every statement in it.

    Raises StatementError, StatementMismatchError if balances and lines do not agree. ``today`` is
    Almaty's: no line is of a later day.
    """
    if len(content) > FILE_BYTES_MAX:
        raise StatementError(
            f"The file has {len(content)} bytes; {FILE_BYTES_MAX} are read at most. Import the days"
            " one by one."
        )
    statements = _read(content)
    for statement in statements:
        check_statement(statement, today=today)
    return statements


def _read(content: bytes) -> list[BankStatement]:
    beginning = content.removeprefix(b"\xef\xbb\xbf").lstrip()
    if beginning.startswith(SIGNATURE.encode()):
        return read_one_c(content)
    if beginning.startswith(b"<"):
        return read_camt053(beginning)
    return read_mt940(content)
