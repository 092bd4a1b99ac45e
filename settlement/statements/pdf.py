"""A shop's statement as PDF, with fonts of its own that have Kazakh letters and the tenge sign."""

from typing import Final

from django.conf import settings
from django.template.loader import render_to_string

# Loads Pango: import this module only where a document is asked for.
from weasyprint import HTML
from weasyprint.urls import URLFetcher

from settlement.calendar import ALMATY
from settlement.formats import (
    coins,
    day_in_words,
    day_plain,
    iban_in_groups,
    price,
    tenge,
    tenge_in_column,
)
from settlement.statements.documents import (
    TITLES,
    Movement,
    PaidTransfer,
    ShopStatement,
    StatementTooLongError,
    with_balances,
)

MOVEMENTS_MAX: Final = 2_000
"""Some twenty seconds of work. More is for a table, or for a document of each day."""


def write_pdf_statement(statement: ShopStatement, *, language: str) -> bytes:
    """Write the document; read in the language that is active.

    Raises StatementTooLongError. Nothing is read but files, and those that are named are the fonts.
    """
    if len(statement.movements) > MOVEMENTS_MAX:
        raise StatementTooLongError(
            f"A PDF takes {MOVEMENTS_MAX} movements, and these are {len(statement.movements)}."
        )
    page = render_to_string("statements/statement.html", _page(statement, language=language))
    fetcher = URLFetcher(allowed_protocols=("file",), fail_on_errors=True)
    return bytes(HTML(string=page, url_fetcher=fetcher).write_pdf())


def _page(statement: ShopStatement, *, language: str) -> dict[str, object]:
    """What the template shows, every amount and day written out."""
    created = statement.created_at.astimezone(ALMATY)
    return {
        "language": language,
        "fonts": (settings.BASE_DIR / "static" / "fonts").as_uri(),
        "statement": statement,
        "iban": iban_in_groups(statement.iban),
        "begins": day_in_words(statement.begins_on, language),
        "ends": day_in_words(statement.ends_on, language),
        "created": f"{day_in_words(created.date(), language)}, {created:%H:%M}",
        "opening": tenge(statement.opening_tiyn, language),
        "came": tenge(statement.came_tiyn, language),
        "went": tenge(statement.went_tiyn, language),
        "closing": tenge(statement.closing_tiyn, language),
        "rows": [
            _row(one, balance_tiyn, language=language)
            for one, balance_tiyn in with_balances(statement)
        ],
    }


def _row(movement: Movement, balance_tiyn: int, *, language: str) -> dict[str, object]:
    local = movement.at.astimezone(ALMATY)
    amount = tenge_in_column(abs(movement.amount_tiyn), language)
    return {
        "day": day_plain(local.date()),
        "time": f"{local:%H:%M}",
        "title": TITLES[movement.kind],
        "movement": movement,
        "transfers": [_transfer(one, language=language) for one in movement.transfers],
        "came": amount if movement.amount_tiyn > 0 else "",
        "went": amount if movement.amount_tiyn < 0 else "",
        "balance": tenge_in_column(balance_tiyn, language),
    }


def _transfer(transfer: PaidTransfer, *, language: str) -> dict[str, str]:
    priced = transfer.price_tiyn
    return {
        "coins": f"{coins(transfer.quantity, transfer.decimals)} {transfer.symbol}",
        "rate": "" if priced is None else price(priced, transfer.symbol, language),
        "network": transfer.network,
        "txid": transfer.txid,
    }
