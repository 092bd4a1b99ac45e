"""The ledger in the languages of plain-text accounting, for whoever does not trust ours.

Beancount (``bean-check``) and hledger (``hledger check --strict``) read every entry, sum it up by
their own code, and hold it against the balances that the end of the file asserts. Tenge is the
commodity KZT with two decimals; an asset's base units are a commodity of their own, named by a hash
of its CAIP-19 name, which is given beside it. Debits are positive, credits negative.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from enum import StrEnum
from hashlib import sha256
from typing import Final, TypeVar

from django.db.models import Max, Min, Prefetch, Sum

from settlement.accounts import AccountKind
from settlement.calendar import almaty_day
from settlement.formats import tenge_plain
from settlement.ledger import LedgerError
from settlement.models import Account, JournalEntry, Posting
from settlement.snapshots import one_snapshot

CHUNK: Final = 2_000
TENGE: Final = "KZT"
Key = TypeVar("Key")
ROOTS: Final = {
    AccountKind.ASSET: "Assets",
    AccountKind.LIABILITY: "Liabilities",
    AccountKind.INCOME: "Income",
    AccountKind.EXPENSE: "Expenses",
    AccountKind.OUTSIDE: "Equity",
}


class PlainText(StrEnum):
    """A language of plain-text accounting."""

    BEANCOUNT = "beancount"
    HLEDGER = "hledger"


@dataclass(frozen=True, slots=True, kw_only=True)
class Holding:
    """What an account holds, or an entry moves on it, in one commodity."""

    account: str
    number: str
    code: str


def write_ledger(language: PlainText) -> Iterator[str]:
    """Write the whole ledger, line by line, as it stands at one moment.

    Raises LedgerError where two accounts, or two assets, would get one name.
    """
    writer = _Beancount() if language is PlainText.BEANCOUNT else _Hledger()
    with one_snapshot():
        span = JournalEntry.objects.aggregate(first=Min("effective_at"), last=Max("effective_at"))
        if span["first"] is None:
            return
        names = _account_names()
        codes = _commodities()
        yield from writer.head(almaty_day(span["first"]), names, codes)
        postings = Prefetch("postings", Posting.objects.order_by("pk"))
        entries = JournalEntry.objects.order_by("pk").prefetch_related(postings)
        for entry in entries.iterator(chunk_size=CHUNK):
            yield from writer.entry(entry, _lines(entry, names, codes))
        after = almaty_day(span["last"]) + timedelta(days=1)
        yield from writer.assertions(after, _holdings(names, codes))


class _Beancount:
    """As Beancount's language syntax has it; it reckons with 28 digits, and here to the unit."""

    def head(self, first: date, names: dict[int, str], codes: dict[str, str]) -> Iterator[str]:
        yield 'option "title" "Alatau Pay"'
        yield 'option "operating_currency" "KZT"'
        yield 'option "tolerance_multiplier" "0"'
        yield f"{first} commodity KZT"
        for asset, code in sorted(codes.items()):
            yield f"{first} commodity {code}"
            yield f'  caip19: "{asset}"'
        for name in sorted(names.values()):
            yield f"{first} open {name}"

    def entry(self, entry: JournalEntry, lines: Sequence[Holding]) -> Iterator[str]:
        yield f'{almaty_day(entry.effective_at)} * "{_quoted(entry.kind)}" "{_quoted(entry.memo)}"'
        yield f"  entry: {entry.pk}"
        yield f'  source: "{_quoted(entry.source)}"'
        yield f'  occurred: "{entry.occurred_at.isoformat()}"'
        for line in lines:
            yield f"  {line.account}  {line.number} {line.code}"

    def assertions(self, after: date, holdings: Sequence[Holding]) -> Iterator[str]:
        for holding in holdings:
            yield f"{after} balance {holding.account}  {holding.number} ~ 0 {holding.code}"


class _Hledger:
    """As hledger reads it (https://hledger.org/hledger.html)."""

    def head(self, first: date, names: dict[int, str], codes: dict[str, str]) -> Iterator[str]:
        yield f"; Alatau Pay, from {first}"
        yield "commodity 1000.00 KZT"
        for asset, code in sorted(codes.items()):
            yield f'commodity 1000. "{code}"  ; {asset}'
        for name in sorted(names.values()):
            yield f"account {name}"

    def entry(self, entry: JournalEntry, lines: Sequence[Holding]) -> Iterator[str]:
        yield f"{almaty_day(entry.effective_at)} * ({entry.pk}) {entry.kind}"
        yield f"    ; source: {_one_line(entry.source)}"
        yield f"    ; memo: {_one_line(entry.memo)}"
        yield f"    ; occurred: {entry.occurred_at.isoformat()}"
        for line in lines:
            yield f"    {line.account}  {line.number} {_symbol(line.code)}"

    def assertions(self, after: date, holdings: Sequence[Holding]) -> Iterator[str]:
        yield f"{after} * balances"
        for holding in holdings:
            symbol = _symbol(holding.code)
            yield f"    {holding.account}  0 {symbol} = {holding.number} {symbol}"


def _account_names() -> dict[int, str]:
    names = {
        pk: ":".join([ROOTS[AccountKind(kind)], _camel(code), *([_safe(owner)] if owner else [])])
        for pk, code, kind, owner in Account.objects.values_list(
            "pk", "code", "kind", "beneficiary"
        )
    }
    return _distinct(names)


def _commodities() -> dict[str, str]:
    """A code for each asset: its namespace and a hash of its name, as both languages take it."""
    assets = Posting.objects.exclude(asset="").order_by().values_list("asset", flat=True).distinct()
    return _distinct(
        {
            asset: f"{asset.partition('/')[2].partition(':')[0] or 'X'}-"
            f"{sha256(asset.encode()).hexdigest()[:12]}".upper()
            for asset in assets
        }
    )


def _distinct(names: dict[Key, str]) -> dict[Key, str]:
    if len(set(names.values())) != len(names):
        raise LedgerError("two accounts or assets would get one name in the file")
    return names


def _lines(entry: JournalEntry, names: dict[int, str], codes: dict[str, str]) -> list[Holding]:
    lines = []
    for line in entry.postings.all():
        name = names[line.account_id]
        if line.amount_tiyn or not line.asset:
            lines.append(Holding(account=name, number=tenge_plain(line.amount_tiyn), code=TENGE))
        if line.asset:
            lines.append(Holding(account=name, number=f"{line.quantity:f}", code=codes[line.asset]))
    return lines


def _holdings(names: dict[int, str], codes: dict[str, str]) -> list[Holding]:
    """What each account holds by our own sums, in tenge and in each of its assets."""
    rows = Posting.objects.order_by().values("account", "asset")
    tiyn: dict[int, int] = {}
    holdings = []
    for row in rows.annotate(tiyn=Sum("amount_tiyn"), units=Sum("quantity")):
        tiyn[row["account"]] = tiyn.get(row["account"], 0) + int(row["tiyn"])
        if row["asset"]:
            number, code = f"{row['units']:f}", codes[row["asset"]]
            holdings.append(Holding(account=names[row["account"]], number=number, code=code))
    holdings += [
        Holding(account=names[pk], number=tenge_plain(held), code=TENGE)
        for pk, held in tiyn.items()
    ]
    return sorted(holdings, key=lambda one: (one.account, one.code))


def _camel(code: str) -> str:
    return "".join(word.capitalize() for word in code.split("_"))


def _safe(owner: str) -> str:
    """A beneficiary as a part of an account's name: letters, digits and hyphens, no two alike."""
    return "B-" + re.sub(r"[^A-Za-z0-9-]", lambda found: f"-u{ord(found[0]):x}-", owner)


def _one_line(text: str) -> str:
    return " ".join(text.split())


def _quoted(text: str) -> str:
    return _one_line(text).replace("\\", "\\\\").replace('"', '\\"')


def _symbol(code: str) -> str:
    """A commodity as hledger wants it: in quotes where it holds more than letters."""
    return code if code == TENGE else f'"{code}"'
