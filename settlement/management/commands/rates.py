"""``manage.py rates``: what every source of rates says, and what a coin is quoted at now."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from datetime import date, datetime
from decimal import Decimal
from typing import Any, Final

from django.core.management.base import BaseCommand, CommandError, CommandParser
from typing_extensions import override

from settlement.rates.feeds import FeedsError
from settlement.rates.observations import plain
from settlement.rates.table import RateTable, SourceLine, rate_table

COLUMNS: Final = ("source", "pair", "price", "age s", "breaker", "note")


class Command(BaseCommand):
    """Print the table of rates as it stands in the database; ask nobody."""

    help = "Print what every source of rates said last, and the rates made of it (or --json)."

    @override
    def add_arguments(self, parser: CommandParser) -> None:
        """Add ``--json``."""
        parser.add_argument("--json", action="store_true", help="print JSON")

    @override
    def handle(self, *args: Any, **options: Any) -> None:
        """Print a line for each pair of each source, then the combined rates."""
        try:
            table = rate_table()
        except FeedsError as error:
            raise CommandError(str(error)) from None
        if options["json"]:
            self.stdout.write(json.dumps(asdict(table), indent=2, default=_plain))
        else:
            self.stdout.write("\n".join([*_aligned(_source_rows(table)), "", *_rate_lines(table)]))


def _source_rows(table: RateTable) -> list[Sequence[str]]:
    rows: list[Sequence[str]] = []
    for state in table.states:
        breaker = str(state.breaker.state)
        lines = [one for one in table.lines if one.source == state.source]
        rows += [
            (one.source, one.pair, plain(one.price), str(one.age_s), breaker, _note(one))
            for one in lines
        ]
        if state.error or not lines:
            rows.append((state.source, "-", "-", "-", breaker, state.error or "no price lately"))
    return rows


def _note(line: SourceLine) -> str:
    if line.effective_on is not None:
        return f"official from {line.effective_on:%d.%m.%Y}"
    return "" if line.is_fresh else "stale"


def _rate_lines(table: RateTable) -> list[str]:
    rows = [
        (
            one.pair,
            "-" if one.price is None else plain(one.price),
            "-" if one.age_s is None else str(one.age_s),
            one.refusal or "good",
        )
        for one in table.rates
    ]
    if not rows:
        return ["no rates: nothing was combined lately"]
    spread = f"spread: {table.spread_bp} hundredths of a percent"
    return [*_aligned(rows, ("combined", "price", "age s", "state")), "", spread]


def _aligned(rows: Sequence[Sequence[str]], columns: Sequence[str] = COLUMNS) -> list[str]:
    lines = [columns, *rows]
    widths = [max(len(line[at]) for line in lines) for at in range(len(columns))]
    return [
        "  ".join(word.ljust(width) for word, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    ]


def _plain(value: object) -> str:
    if isinstance(value, Decimal):
        return plain(value)
    if isinstance(value, (date, datetime)):
        return value.isoformat()
    raise TypeError(type(value).__name__)
