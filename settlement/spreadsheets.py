"""Tables as XLSX and CSV, in which no text is ever a formula (R101)."""

import csv
import io
import re
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Final

from openpyxl import Workbook
from openpyxl.styles import Font
from openpyxl.utils import get_column_letter

from settlement.formats import tenge_plain

FORMULA: Final = re.compile(r"[\s\u200b\ufeff]*[=+\-@\t\r\n＝＋－＠]")
"""What spreadsheet programs may take for a formula, also after what is not seen."""
UNSEEN: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff\ufffe\uffff]+")
"""Line breaks and other characters that begin a row of a careless reader, or that XML lacks."""
AMOUNT_FORMAT: Final = "#,##0.00"


@dataclass(frozen=True, slots=True)
class Amount:
    """A cell in tenge: a number to a spreadsheet, and no text."""

    tiyn: int


Cell = str | Amount
Rows = Sequence[Sequence[Cell]]


def write_xlsx(rows: Rows, *, title: str, widths: Sequence[int], heading: int = 0) -> bytes:
    """Write rows as a sheet, the row with the number ``heading`` in bold and held in view."""
    book = Workbook()
    sheet = book.worksheets[0]
    sheet.title = title
    sheet.freeze_panes = f"A{heading + 2}"
    for number, width in enumerate(widths, start=1):
        sheet.column_dimensions[get_column_letter(number)].width = width
    for number, row in enumerate(rows, start=1):
        for column, one in enumerate(row, start=1):
            cell = sheet.cell(number, column)
            if isinstance(one, Amount):
                cell.value = Decimal(one.tiyn).scaleb(-2)
                cell.number_format = AMOUNT_FORMAT
            else:
                cell.value = text = one_line(one)
                # openpyxl takes a text that begins with "=" for a formula; so may who edits it.
                cell.data_type = "s"
                cell.quotePrefix = bool(FORMULA.match(text))
            if number == heading + 1:
                cell.font = Font(bold=True)
    file = io.BytesIO()
    book.save(file)
    return file.getvalue()


def write_csv(rows: Rows) -> bytes:
    """Write rows with semicolons, UTF-8 and a BOM, as Excel in Kazakhstan opens them."""
    file = io.StringIO(newline="")
    writer = csv.writer(file, delimiter=";", lineterminator="\r\n")
    for row in rows:
        writer.writerow(
            [tenge_plain(one.tiyn) if isinstance(one, Amount) else no_formula(one) for one in row]
        )
    return file.getvalue().encode("utf-8-sig")


def no_formula(text: str) -> str:
    """Put an apostrophe before text that a spreadsheet might run: cells of CSV have no type."""
    line = one_line(text)
    return f"'{line}" if FORMULA.match(line) else line


def one_line(text: str) -> str:
    """Put spaces for line breaks, and for what no cell can hold."""
    return UNSEEN.sub(" ", text)
