"""A shop's statement: in every form and language it adds up, is whole, and runs nothing."""

import csv
import io
import re
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal

import openpyxl
import pypdf
import pytest
from fontTools.ttLib import TTFont
from hypothesis import given
from hypothesis import settings as trying
from hypothesis import strategies as st
from pytest_django.fixtures import Settings

from settlement.bank_files.reading import read_statements
from settlement.statements import pdf
from settlement.statements.documents import (
    Movement,
    MovementKind,
    ShopStatement,
    StatementSumError,
    StatementTooLongError,
    check_statement,
)
from settlement.statements.writing import StatementForm, write_statement
from tests.settlement.statements.samples import BITCOIN, DAY, MOVEMENTS, STATEMENT, TETHER, TXID

LANGUAGES = ("kk", "ru", "en")
KAZAKH = "ӘҒҚҢӨҰҮҺІәғқңөұүһі"
HOSTILE = replace(
    STATEMENT,
    shop="=1+1",
    merchant="<b>&\"'</b>\n=1",
    operator="<img src=http://127.0.0.1:9/>",
    movements=(
        replace(MOVEMENTS[0], order="=HYPERLINK(1)", invoice="\u00a0@SUM(1)"),
        replace(MOVEMENTS[1], order="a\n=1;2", invoice="<script>alert(1)</script>"),
    ),
    closing_tiyn=STATEMENT.opening_tiyn + 450_000 + 123_456_789,
)


def _table(statement: ShopStatement, *, language: str) -> list[list[str]]:
    content = write_statement(statement, form=StatementForm.CSV, language=language).content
    assert content.startswith(b"\xef\xbb\xbf")
    return list(csv.reader(io.StringIO(content.decode("utf-8-sig"), newline=""), delimiter=";"))


def _tiyn(text: str) -> int:
    """What an amount says, in whatever language it is written."""
    return int(re.sub(r"[^0-9-]", "", text) or 0)


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_csv_adds_up_and_links_every_line(language: str) -> None:
    heading, opening, *lines, closing = _table(STATEMENT, language=language)
    assert {len(row) for row in [heading, opening, *lines, closing]} == {13}
    assert len(lines) == len(MOVEMENTS)
    balance = opening_tiyn = _tiyn(opening[-1])
    for row in lines:
        balance += _tiyn(row[10]) - _tiyn(row[11])
        assert _tiyn(row[12]) == balance
    assert (opening_tiyn, balance) == (STATEMENT.opening_tiyn, STATEMENT.closing_tiyn)
    assert _tiyn(closing[-1]) == STATEMENT.closing_tiyn
    first, second = lines[:2]
    assert first[:2] == ["24.11.2026", "09:15:00"]
    assert first[3:5] == ["Ab3dE9xQ", "№ 17"]
    assert (first[8], first[9], first[10]) == ("Bitcoin", TXID, "4500.00")
    assert second[6] == "0.0001 BTC; 5 USDT"
    assert second[9] == f"{BITCOIN.txid}; {TETHER.txid}"
    assert second[7].count("₸") == 2


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_kind_of_movement_has_a_title_of_its_own(language: str) -> None:
    movements = tuple(replace(MOVEMENTS[-1], kind=kind) for kind in MovementKind)
    statement = replace(
        STATEMENT,
        movements=movements,
        closing_tiyn=STATEMENT.opening_tiyn + len(movements),
    )
    titles = [row[2] for row in _table(statement, language=language)[2:-1]]
    assert len(set(titles)) == len(MovementKind)
    assert (language == "en") == ("Sale" in titles)


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_workbook_says_what_the_csv_says(language: str) -> None:
    file = write_statement(STATEMENT, form=StatementForm.XLSX, language=language)
    sheet = openpyxl.load_workbook(io.BytesIO(file.content)).worksheets[0]
    rows = [list(row) for row in sheet.iter_rows(min_row=9, values_only=True)]
    said = [
        [f"{Decimal(one):.2f}" if isinstance(one, int | float) else one or "" for one in row]
        for row in rows
    ]
    assert said == _table(STATEMENT, language=language)
    assert sheet["B3"].value == STATEMENT.shop
    assert sheet.freeze_panes == "A10"


@pytest.mark.case("R101")
def test_no_table_holds_a_formula() -> None:
    rows = _table(HOSTILE, language="en")
    assert {len(row) for row in rows} == {13}
    assert [row[3:5] for row in rows[2:-1]] == [
        ["'\u00a0@SUM(1)", "'=HYPERLINK(1)"],
        ["<script>alert(1)</script>", "a =1;2"],
    ]
    file = write_statement(HOSTILE, form=StatementForm.XLSX, language="en")
    sheet = openpyxl.load_workbook(io.BytesIO(file.content)).worksheets[0]
    cells = [cell for row in sheet.iter_rows() for cell in row if cell.value is not None]
    assert {cell.data_type for cell in cells} == {"s", "n"}
    assert sheet["B3"].value == "=1+1"
    assert sheet["B3"].quotePrefix


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_one_c_statement_is_read_as_it_was_meant(language: str) -> None:
    file = write_statement(STATEMENT, form=StatementForm.ONE_C, language=language)
    (read,) = read_statements(file.content, today=DAY)
    assert read.iban == STATEMENT.account
    assert (read.opening_tiyn, read.closing_tiyn) == (5_000_050, STATEMENT.closing_tiyn)
    assert [one.amount_tiyn for one in read.lines] == [one.amount_tiyn for one in MOVEMENTS]
    payout = read.lines[5]
    assert (payout.reference, payout.counterparty_iban) == ("42", STATEMENT.iban)
    assert TXID in read.lines[0].purpose
    assert "Ab3dE9xQ" in read.lines[0].purpose


def test_a_hostile_name_begins_no_field_of_one_c() -> None:
    file = write_statement(HOSTILE, form=StatementForm.ONE_C, language="kk")
    (read,) = read_statements(file.content, today=DAY)
    assert len(read.lines) == 2


def _text_of(content: bytes) -> str:
    return "\n".join(page.extract_text() for page in pypdf.PdfReader(io.BytesIO(content)).pages)


@pytest.mark.parametrize(
    ("language", "closing", "day"),
    [
        ("kk", "1 283 556,05 ₸", "2026 ж. 24 қараша"),
        ("ru", "1 283 556,05 ₸", "24 ноября 2026 г."),
        ("en", "1,283,556.05 ₸", "24 November 2026"),
    ],
)
def test_a_pdf_adds_up_in_every_language(language: str, closing: str, day: str) -> None:
    file = write_statement(STATEMENT, form=StatementForm.PDF, language=language)
    text = _text_of(file.content).replace("\u00a0", " ")
    assert STATEMENT.shop in text
    assert closing in text
    assert day in text
    sums = [_tiyn(one) for one in re.findall(r"(-?[0-9][0-9 ,.]*) ₸\n", text)[:4]]
    opening_tiyn, came_tiyn, went_tiyn, closing_tiyn = sums
    assert opening_tiyn + came_tiyn - went_tiyn == closing_tiyn == STATEMENT.closing_tiyn
    assert TXID in text.replace("\n", "")
    assert "KZ41 722C 0000 0000 0001" in text


def test_a_pdf_carries_fonts_that_have_every_kazakh_letter_and_the_tenge_sign(
    settings: Settings,
) -> None:
    statement = replace(STATEMENT, shop=KAZAKH, merchant=KAZAKH)
    file = write_statement(statement, form=StatementForm.PDF, language="kk")
    reader = pypdf.PdfReader(io.BytesIO(file.content))
    names = set()
    for page in reader.pages:
        for font in page["/Resources"]["/Font"].values():
            (descendant,) = font["/DescendantFonts"]
            assert "/FontFile2" in descendant["/FontDescriptor"], "it is embedded"
            names.add(str(font["/BaseFont"]).partition("+")[2])
    assert names == {"Noto-Sans", "Noto-Sans-Bold"}, "no letter came from another font"
    assert _text_of(file.content).count(KAZAKH) == 2
    for weight in ("Regular", "Bold"):
        font = TTFont(settings.BASE_DIR / f"static/fonts/NotoSans-{weight}.ttf")
        assert {*map(ord, f"{KAZAKH}₸№«»–")} <= font.getBestCmap().keys()


def test_a_pdf_of_a_month_runs_over_pages_and_names_both_days() -> None:
    movements = MOVEMENTS * 6
    statement = replace(
        STATEMENT,
        begins_on=DAY.replace(day=1),
        ends_on=DAY.replace(day=30),
        movements=tuple(sorted(movements, key=lambda one: one.at)),
        closing_tiyn=STATEMENT.opening_tiyn + sum(one.amount_tiyn for one in movements),
    )
    file = write_statement(statement, form=StatementForm.PDF, language="ru")
    assert file.name == "statement-2026-11-01-2026-11-30.pdf"
    reader = pypdf.PdfReader(io.BytesIO(file.content))
    assert len(reader.pages) > 1
    text = _text_of(file.content).replace("\u00a0", " ")
    assert "1 ноября 2026 г. – 30 ноября 2026 г." in text
    assert f"{len(reader.pages)} / {len(reader.pages)}" in text


def test_a_pdf_shows_hostile_names_as_they_are_and_fetches_nothing() -> None:
    text = _text_of(write_statement(HOSTILE, form=StatementForm.PDF, language="en").content)
    assert "<img src=http://127.0.0.1:9/>" in text
    assert "<script>alert(1)</script>" in text


def test_a_pdf_of_nothing() -> None:
    statement = replace(STATEMENT, movements=(), closing_tiyn=STATEMENT.opening_tiyn)
    file = write_statement(statement, form=StatementForm.PDF, language="en")
    assert "Nothing moved." in _text_of(file.content)


def test_a_pdf_that_is_too_long_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pdf, "MOVEMENTS_MAX", len(MOVEMENTS) - 1)
    with pytest.raises(StatementTooLongError, match="these are 8"):
        write_statement(STATEMENT, form=StatementForm.PDF, language="en")
    assert write_statement(STATEMENT, form=StatementForm.CSV, language="en").content


@pytest.mark.parametrize("form", StatementForm)
@pytest.mark.parametrize(
    ("statement", "reason"),
    [
        (replace(STATEMENT, closing_tiyn=STATEMENT.closing_tiyn + 1), r"differs by 0\.01"),
        (replace(STATEMENT, opening_tiyn=0), r"differs by 50000\.50"),
        (replace(STATEMENT, movements=MOVEMENTS[::-1]), "not in order"),
        (replace(STATEMENT, begins_on=DAY + timedelta(1), ends_on=DAY + timedelta(2)), "not of"),
        (replace(STATEMENT, begins_on=DAY - timedelta(2), ends_on=DAY - timedelta(1)), "not of"),
        (replace(STATEMENT, begins_on=DAY + timedelta(1)), "not of"),
    ],
)
def test_what_does_not_add_up_is_not_shown(
    statement: ShopStatement, reason: str, form: StatementForm
) -> None:
    with pytest.raises(StatementSumError, match=reason):
        write_statement(statement, form=form, language="kk")


@trying(deadline=None)
@given(
    opening_tiyn=st.integers(-(10**12), 10**12),
    amounts=st.lists(st.integers(-(10**12), 10**12).filter(bool), max_size=30),
)
def test_any_statement_adds_up_in_csv_and_in_one_c(opening_tiyn: int, amounts: list[int]) -> None:
    statement = replace(
        STATEMENT,
        opening_tiyn=opening_tiyn,
        movements=tuple(
            Movement(at=MOVEMENTS[0].at, kind=MovementKind.SALE, amount_tiyn=one) for one in amounts
        ),
        closing_tiyn=opening_tiyn + sum(amounts),
    )
    check_statement(statement)
    lines = _table(statement, language="en")[2:-1]
    assert [_tiyn(row[10]) - _tiyn(row[11]) for row in lines] == amounts
    content = write_statement(statement, form=StatementForm.ONE_C, language="en").content
    (read,) = read_statements(content, today=DAY)
    assert [one.amount_tiyn for one in read.lines] == amounts
