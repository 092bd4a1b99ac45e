"""The text format ``1CClientBankExchange`` in the Kazakh dialect 2.00: its lines and sections.

Kazakhstan's dialect differs from the Russian 1.03 in its fields (``БИН_ИИН``, ``ИИК``, ``КБЕ``).
Bank CenterCredit writes the version ``2.0``, no encoding, and quotes around values.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date, datetime
from enum import StrEnum
from typing import Final

from settlement.bank_files.orders import OrdersRefusedError
from settlement.bank_files.statements import StatementError, decoded

SIGNATURE: Final = "1CClientBankExchange"
ACCOUNT: Final = "СекцияРасчСчет"
DOCUMENT: Final = "СекцияДокумент"
ENDS: Final = {ACCOUNT: "КонецРасчСчет", DOCUMENT: "КонецДокумента"}
END_OF_FILE: Final = "КонецФайла"
VERSIONS: Final = ("2.00", "2.0")
RUSSIAN_LETTERS: Final = {
    **dict(zip("әғқңөұүһӘҒҚҢӨҰҮҺ", "агкноуухАГКНОУУХ", strict=True)),
    "₸": "тг",
}
"""What cp1251 lacks, as it is written by those who have no Kazakh keyboard."""


class Encoding(StrEnum):
    """How a file's letters are written, as its header says."""

    UTF8 = "UTF8"
    CP1251 = "Windows"


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """An account or a document: what it is, its fields, and its lines as they stand."""

    kind: str
    fields: Mapping[str, str]
    raw: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Exchange:
    """A file, read: its accounts and its documents."""

    accounts: tuple[Section, ...]
    documents: tuple[Section, ...]


def header(
    *, encoding: Encoding, recipient: str, created_at: datetime, days: tuple[date, date], iban: str
) -> list[tuple[str, str]]:
    """The first fields of every file: who wrote it when, and about which days of which account."""
    return [
        ("", SIGNATURE),
        ("ВерсияФормата", "2.00"),
        ("Кодировка", encoding),
        ("Отправитель", "Alatau Pay"),
        ("Получатель", recipient),
        ("ДатаСоздания", f"{created_at:%d.%m.%Y}"),
        ("ВремяСоздания", f"{created_at:%H:%M:%S}"),
        ("ДатаНачала", f"{days[0]:%d.%m.%Y}"),
        ("ДатаКонца", f"{days[1]:%d.%m.%Y}"),
        ("РасчСчет", iban),
    ]


def encoded(fields: Iterable[tuple[str, str]], *, encoding: Encoding) -> tuple[bytes, list[str]]:
    """Write fields as lines that end in CRLF, and say which letters the encoding made Russian.

    A field without a name is a bare line. Raises OrdersRefusedError for letters that cp1251 lacks
    and nobody knows how to replace.
    """
    text = "".join(
        f"{name}={value.strip()}\r\n" if name else f"{value}\r\n" for name, value in fields
    )
    if encoding is Encoding.UTF8:
        return text.encode(), []
    replaced = "".join(sorted(RUSSIAN_LETTERS.keys() & set(text)))
    try:
        content = "".join(RUSSIAN_LETTERS.get(one, one) for one in text).encode("cp1251")
    except UnicodeEncodeError as error:
        lacking = error.object[error.start : error.end]
        raise OrdersRefusedError((f"cp1251 has no {lacking!r}: choose UTF-8",)) from None
    if not replaced:
        return content, []
    return content, [f"cp1251 has no {replaced}: names and purposes have Russian letters instead."]


def read_exchange(content: bytes) -> Exchange:
    """Read a file; raises StatementError for one that is cut short or broken."""
    lines = [line.strip() for line in decoded(content).split("\n") if line.strip()]
    if not lines or lines[0] != SIGNATURE:
        raise StatementError(f"The file does not begin with {SIGNATURE}.")
    if lines[-1] != END_OF_FILE:
        raise StatementError(f"The file does not end with {END_OF_FILE}: it is cut short.")
    version, sections = _parts(lines[1:-1])
    if version not in VERSIONS:
        raise StatementError(f"The file's version is {version!r}, not {' or '.join(VERSIONS)}.")
    read = [_section(rows, is_quoted=version == "2.0") for rows in sections]
    return Exchange(
        accounts=tuple(one for one in read if one.raw.startswith(ACCOUNT)),
        documents=tuple(one for one in read if one.raw.startswith(DOCUMENT)),
    )


def day_from(text: str, *, name: str) -> date:
    """Read ``24.11.2026``; raises StatementError for anything else."""
    if re.fullmatch(r"[0-9]{2}\.[0-9]{2}\.[0-9]{4}", text):
        try:
            return date(int(text[6:]), int(text[3:5]), int(text[:2]))
        except ValueError:
            pass
    raise StatementError(f"{name} is not a day like 24.11.2026: {text[:40]!r}")


def _parts(lines: Iterable[str]) -> tuple[str, list[list[str]]]:
    """The version that a header names, and the lines of each section from its name to its end."""
    version, sections = "", []
    rows: list[str] = []
    for line in lines:
        name, _, value = line.partition("=")
        if rows or name in ENDS:
            rows.append(line)
        elif name == "ВерсияФормата":
            version = value
        if rows and line == ENDS[rows[0].partition("=")[0]]:
            sections.append(rows)
            rows = []
    if rows:
        raise StatementError(f"A section has no end: {rows[0]!r}")
    return version, sections


def _section(rows: list[str], *, is_quoted: bool) -> Section:
    fields: dict[str, str] = {}
    for row in rows[1:-1]:
        name, equals, value = row.partition("=")
        if not equals:
            raise StatementError(f"A line is no field: {row[:80]!r}")
        if name in fields:
            raise StatementError(f"A field stands twice in one section: {row[:80]!r}")
        fields[name] = _unquoted(value) if is_quoted else value
    kind = _unquoted(rows[0].partition("=")[2])
    return Section(kind=kind, fields=fields, raw="\n".join(rows))


def _unquoted(value: str) -> str:
    inside = value[1:-1]
    is_quoted = (
        len(value) > 1 and value[0] == value[-1] == '"' and '"' not in inside.replace('""', "")
    )
    return inside.replace('""', '"') if is_quoted else value
