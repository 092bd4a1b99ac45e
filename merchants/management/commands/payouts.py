"""``manage.py payouts``: an operator's day, from the batch to the bank's statement.

prepare -> approve (another official) -> export -> import the bank's statement
"""

import json
from argparse import ArgumentParser
from collections.abc import Iterable
from dataclasses import asdict
from datetime import date
from pathlib import Path
from typing import Any, Final

from django.core.exceptions import ImproperlyConfigured
from django.core.management.base import BaseCommand, CommandError, CommandParser
from typing_extensions import override

from merchants.payouts import import_statement, known_shop, prepare_payouts, tell_shop
from settlement.bank_files.statements import StatementError
from settlement.bank_files.writing import OrdersForm
from settlement.calendar import CalendarError
from settlement.clock import today
from settlement.formats import tenge_in_column
from settlement.payout_export import export_batch
from settlement.payout_outcomes import give_up_payout, open_lines
from settlement.payout_states import (
    BatchFact,
    PayoutError,
    PayoutFact,
    batch_facts,
    payouts_unknown,
)
from settlement.payouts import Prepared, approve_batch, cancel_batch, hold_payouts

REFUSALS: Final = (
    PayoutError,
    StatementError,
    CalendarError,
    ImproperlyConfigured,
    OSError,
)


class Command(BaseCommand):
    """Parse, call one function, and say what came of it, as text or as JSON."""

    help = "Prepare, show, approve, export, import and hold payouts to shops."

    @override
    def add_arguments(self, parser: CommandParser) -> None:
        """Take one action and what it needs."""
        actions = parser.add_subparsers(dest="action", required=True)

        def action(name: str, help_text: str, *needs: str) -> ArgumentParser:
            found = actions.add_parser(name, help=help_text)
            found.add_argument("--json", action="store_true", help="print JSON")
            for need in needs:
                found.add_argument(f"--{need}", required=True)
            return found

        prepare = action("prepare", "take what is due into a batch", "by")
        prepare.add_argument("--on", type=date.fromisoformat, help="value day, YYYY-MM-DD; today")
        show = action("show", "batches, payouts of unknown outcome, unmatched lines of the bank")
        show.add_argument("batch", type=int, nargs="?")
        action("approve", "let it go to the bank; a second official", "by").add_argument(
            "batch", type=int
        )
        action("cancel", "give back a batch that did not go", "by", "reason").add_argument(
            "batch", type=int
        )
        export = action("export", "write the bank's file; again, the same file", "by")
        export.add_argument("batch", type=int)
        export.add_argument("--form", type=OrdersForm, choices=list(OrdersForm))
        export.add_argument("--to", type=Path, default=Path(), help="folder")
        action("import", "take in the bank's statement", "by").add_argument("file", type=Path)
        hold = action("hold", "do not pay a shop, until --release", "by", "reason")
        hold.add_argument("shop", help="its id")
        hold.add_argument("--release", action="store_true")
        action(
            "unpaid", "the bank never paid it: two officials", "by", "second", "reason"
        ).add_argument("payout", type=int)

    @override
    def handle(self, *args: Any, **options: Any) -> None:
        """Do it; fail with a sentence that says what to do."""
        try:
            said, lines = getattr(self, f"_{options['action']}")(options)
        except REFUSALS as error:
            raise CommandError(str(error)) from error
        if options["json"]:
            self.stdout.write(json.dumps(said, default=str, ensure_ascii=False))
        else:
            for line in lines:
                self.stdout.write(line)

    def _prepare(self, options: dict[str, Any]) -> tuple[Any, Iterable[str]]:
        prepared = prepare_payouts(value_on=options["on"] or today(), prepared_by=options["by"])
        return [asdict(one) for one in prepared], _prepared_lines(prepared)

    def _show(self, options: dict[str, Any]) -> tuple[Any, Iterable[str]]:
        batches = batch_facts(number=options["batch"])
        if options["batch"] is not None:
            if not batches:
                raise PayoutError(f"There is no batch {options['batch']}.")
            return _batch_said(batches[0]), _batch_lines(batches[0])
        unknown, unmatched = payouts_unknown(), open_lines()
        said = {
            "batches": [_batch_said(one) for one in batches],
            "unknown": [asdict(one) for one in unknown],
            "open_lines": [asdict(one) for one in unmatched],
        }
        lines = [_batch_line(one) for one in batches] or ["No batch yet."]
        lines.append(f"Unknown to the bank's statements: {len(unknown)}")
        lines += [_payout_line(one) for one in unknown]
        lines.append(f"Lines of the bank that booked nothing: {len(unmatched)}")
        lines += [
            f"  {one.booked_on} {tenge_in_column(one.amount_tiyn, 'en'):>16}"
            f"  {one.reference or '-'}  {one.counterparty_name}: {one.why}"
            for one in unmatched
        ]
        return said, lines

    def _approve(self, options: dict[str, Any]) -> tuple[Any, Iterable[str]]:
        approve_batch(batch=options["batch"], approved_by=options["by"])
        return _batch_now(options["batch"])

    def _cancel(self, options: dict[str, Any]) -> tuple[Any, Iterable[str]]:
        cancel_batch(batch=options["batch"], cancelled_by=options["by"], reason=options["reason"])
        return _batch_now(options["batch"])

    def _export(self, options: dict[str, Any]) -> tuple[Any, Iterable[str]]:
        file, sha256 = export_batch(
            batch=options["batch"], exported_by=options["by"], form=options["form"]
        )
        path = options["to"] / file.name
        if path.exists() and path.read_bytes() != file.content:
            raise PayoutError(f"{path} is another file: move it away.")
        path.write_bytes(file.content)
        said = {"file": str(path), "sha256": sha256, "warnings": file.warnings}
        return said, [f"{path}", f"SHA-256 {sha256}", *file.warnings]

    def _import(self, options: dict[str, Any]) -> tuple[Any, Iterable[str]]:
        path = options["file"]
        imported = import_statement(
            content=path.read_bytes(), name=path.name, imported_by=options["by"]
        )
        lines = [f"{imported.lines_new} new lines, {imported.lines_known} known before"]
        lines += [_payout_line(one) for one in imported.outcomes]
        if unmatched := len(open_lines()):
            lines.append(f"{unmatched} lines booked nothing: manage.py payouts show")
        return asdict(imported), lines

    def _hold(self, options: dict[str, Any]) -> tuple[Any, Iterable[str]]:
        is_held = not options["release"]
        shop = known_shop(options["shop"])
        hold_payouts(
            beneficiary=shop, is_held=is_held, said_by=options["by"], reason=options["reason"]
        )
        said = {"shop": shop, "is_held": is_held}
        return said, [f"{shop} is {'held' if is_held else 'paid again'}."]

    def _unpaid(self, options: dict[str, Any]) -> tuple[Any, Iterable[str]]:
        fact = give_up_payout(
            payout=options["payout"],
            decided_by=options["by"],
            seconded_by=options["second"],
            reason=options["reason"],
            told=tell_shop,
        )
        return asdict(fact), [_payout_line(fact)]


def _batch_now(number: int) -> tuple[Any, list[str]]:
    [batch] = batch_facts(number=number)
    return _batch_said(batch), [_batch_line(batch)]


def _batch_said(batch: BatchFact) -> dict[str, Any]:
    return {**asdict(batch), "total_tiyn": batch.total_tiyn}


def _batch_line(batch: BatchFact) -> str:
    return (
        f"{batch.number:>6}  {batch.reference:20} {batch.state:10}"
        f"{len(batch.payouts):>6} payouts {tenge_in_column(batch.total_tiyn, 'en'):>18}"
        f"  by {batch.prepared_by}"
    )


def _batch_lines(batch: BatchFact) -> list[str]:
    return [_batch_line(batch), *(_payout_line(one) for one in batch.payouts)]


def _payout_line(payout: PayoutFact) -> str:
    return (
        f"  {payout.number:>9}  {payout.state:10}{tenge_in_column(payout.amount_tiyn, 'en'):>18}"
        f"  {payout.payee_iban}  {payout.payee_name}"
    )


def _prepared_lines(prepared: list[Prepared]) -> list[str]:
    lines: list[str] = []
    for one in prepared:
        if one.batch is not None:
            [batch] = batch_facts(number=one.batch)
            lines += _batch_lines(batch)
        lines += [
            f"  not paid: {skipped.beneficiary}: {skipped.reason}"
            f"{f' ({skipped.why})' if skipped.why else ''}"
            for skipped in one.skipped
        ]
    return lines or ["There is no approved shop."]
