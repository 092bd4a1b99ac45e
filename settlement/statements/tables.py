"""A shop's statement as a table: CSV for programs, XLSX for people."""

from collections.abc import Iterator
from datetime import datetime

from django.utils.translation import gettext as _

from settlement.calendar import ALMATY
from settlement.formats import coins, day_plain, price
from settlement.spreadsheets import Amount, Cell, write_csv, write_xlsx
from settlement.statements.documents import TITLES, Movement, ShopStatement, with_balances

WIDTHS = (12, 8, 28, 24, 18, 18, 22, 30, 18, 68, 16, 16, 18)


def write_csv_statement(statement: ShopStatement, *, language: str) -> bytes:
    """Write the table alone; read in the language that is active."""
    return write_csv(list(_table(statement, language=language)))


def write_xlsx_statement(statement: ShopStatement, *, language: str) -> bytes:
    """Write the table under what it is about; read in the language that is active."""
    about: list[tuple[Cell, ...]] = [
        (_("Statement of settlements"),),
        (f"{day_plain(statement.begins_on)} – {day_plain(statement.ends_on)}",),
        (_("Shop"), statement.shop),
        (_("Merchant"), statement.merchant, statement.bin_or_iin),
        (_("Account for payouts"), statement.iban),
        (_("Operator"), statement.operator),
        (_("This is neither a fiscal receipt nor a statement of a bank."),),
        (),
    ]
    table = list(_table(statement, language=language))
    return write_xlsx(
        [*about, *table],
        title=_("Statement"),
        widths=WIDTHS,
        heading=len(about),
    )


def _table(statement: ShopStatement, *, language: str) -> Iterator[tuple[Cell, ...]]:
    yield (
        _("Date"),
        _("Time"),
        _("Movement"),
        _("Invoice"),
        _("Order"),
        _("Reference"),
        _("Coins"),
        _("Rate"),
        _("Network"),
        _("Transaction"),
        _("In, ₸"),
        _("Out, ₸"),
        _("Balance, ₸"),
    )
    between = ("",) * 9
    opening, closing = Amount(statement.opening_tiyn), Amount(statement.closing_tiyn)
    yield day_plain(statement.begins_on), "", _("Opening balance"), *between, opening
    for movement, balance_tiyn in with_balances(statement):
        yield (
            *_moment(movement.at),
            str(TITLES[movement.kind]),
            *_links(movement, language=language),
            Amount(movement.amount_tiyn) if movement.amount_tiyn > 0 else "",
            Amount(-movement.amount_tiyn) if movement.amount_tiyn < 0 else "",
            Amount(balance_tiyn),
        )
    yield day_plain(statement.ends_on), "", _("Closing balance"), *between, closing


def _moment(moment: datetime) -> tuple[str, str]:
    local = moment.astimezone(ALMATY)
    return day_plain(local.date()), f"{local:%H:%M:%S}"


def _links(movement: Movement, *, language: str) -> tuple[str, ...]:
    transfers = movement.transfers
    return (
        movement.invoice,
        movement.order,
        movement.reference,
        "; ".join(f"{coins(one.quantity, one.decimals)} {one.symbol}" for one in transfers),
        "; ".join(
            price(one.price_tiyn, one.symbol, language) if one.price_tiyn is not None else "–"
            for one in transfers
        ),
        "; ".join(one.network for one in transfers),
        "; ".join(one.txid for one in transfers),
    )
