"""A shop's statement out: checked once, then written in the form and the language asked for."""

from enum import StrEnum
from typing import assert_never

from django.utils.translation import override

from settlement.statements.documents import Document, ShopStatement, check_statement
from settlement.statements.one_c import write_one_c_statement
from settlement.statements.tables import write_csv_statement, write_xlsx_statement


class StatementForm(StrEnum):
    """A form that a statement is written in."""

    PDF = "pdf"
    XLSX = "xlsx"
    CSV = "csv"
    ONE_C = "1c"


def write_statement(statement: ShopStatement, *, form: StatementForm, language: str) -> Document:
    """Write a statement in Kazakh, Russian or English (``kk``, ``ru``, ``en``).

    Raises StatementSumError for one that does not add up, StatementTooLongError for a PDF of more
    movements than it takes.
    """
    check_statement(statement)
    with override(language):
        content, ending, media_type = _written(statement, form=form, language=language)
    days = [statement.begins_on.isoformat(), statement.ends_on.isoformat()]
    name = "-".join(["statement", *(days[:1] if statement.is_of_one_day else days)])
    return Document(name=f"{name}.{ending}", media_type=media_type, content=content)


def _written(
    statement: ShopStatement, *, form: StatementForm, language: str
) -> tuple[bytes, str, str]:
    match form:
        case StatementForm.PDF:
            # Loads Pango, which no other form needs.
            from settlement.statements.pdf import write_pdf_statement

            return write_pdf_statement(statement, language=language), "pdf", "application/pdf"
        case StatementForm.XLSX:
            kind = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"
            return write_xlsx_statement(statement, language=language), "xlsx", kind
        case StatementForm.CSV:
            kind = "text/csv; charset=utf-8"
            return write_csv_statement(statement, language=language), "csv", kind
        case StatementForm.ONE_C:
            return write_one_c_statement(statement), "txt", "text/plain; charset=utf-8"
        case _:
            assert_never(form)
