"""A shop's statement as ``1CClientBankExchange``, to be loaded beside those of its bank.

The account is the shop's settlement account with the operator, and never its IBAN: under the IBAN
1C would count a payout twice, here and in the bank's own statement.
"""

from collections.abc import Iterator
from typing import Final

from django.utils.translation import gettext as _

from settlement.bank_files.one_c import (
    ACCOUNT,
    DOCUMENT,
    END_OF_FILE,
    ENDS,
    Encoding,
    encoded,
    header,
)
from settlement.banks import bank_of
from settlement.calendar import ALMATY, almaty_day
from settlement.formats import day_plain, tenge_plain
from settlement.spreadsheets import one_line
from settlement.statements.documents import TITLES, Movement, MovementKind, ShopStatement

TO_IBAN: Final = (MovementKind.PAYOUT, MovementKind.PAYOUT_RETURNED)
"""What moves between the shop's two accounts; all else is between payers, operator and shop."""


def write_one_c_statement(statement: ShopStatement) -> bytes:
    """Write the statement in UTF-8; read in the language that is active."""
    days = statement.begins_on, statement.ends_on
    fields = [
        *header(
            encoding=Encoding.UTF8,
            recipient="1С:Предприятие, Бухгалтерия для Казахстана",
            created_at=statement.created_at.astimezone(ALMATY),
            days=days,
            iban=statement.account,
        ),
        ("", ACCOUNT),
        ("ДатаНачала", day_plain(days[0])),
        ("ДатаКонца", day_plain(days[1])),
        ("РасчСчет", statement.account),
        ("НачальныйОстаток", tenge_plain(statement.opening_tiyn)),
        ("ВсегоПоступило", tenge_plain(statement.came_tiyn)),
        ("ВсегоСписано", tenge_plain(statement.went_tiyn)),
        ("КонечныйОстаток", tenge_plain(statement.closing_tiyn)),
        ("", ENDS[ACCOUNT]),
    ]
    for number, movement in enumerate(statement.movements, start=1):
        fields += _document(statement, movement, number=number)
    fields.append(("", END_OF_FILE))
    lines = ((name, one_line(value)) for name, value in fields)
    return encoded(lines, encoding=Encoding.UTF8)[0]


def _document(
    statement: ShopStatement, movement: Movement, *, number: int
) -> Iterator[tuple[str, str]]:
    came = movement.amount_tiyn > 0
    day = day_plain(almaty_day(movement.at))
    amount = tenge_plain(abs(movement.amount_tiyn))
    ours, theirs = ("Получатель", "Плательщик") if came else ("Плательщик", "Получатель")
    yield DOCUMENT, "Выписка"
    yield "ВидДокумента", "ПлатежноеПоручение"
    yield "ДатаОперации", day
    yield "СуммаПриход" if came else "СуммаРасход", amount
    yield "НомерДокумента", movement.reference or str(number)
    yield "ДатаДокумента", day
    yield from _shop(statement, ours, account=statement.account, bank="", bic="")
    if movement.kind in TO_IBAN:
        bank = bank_of(statement.iban)
        yield from _shop(
            statement,
            theirs,
            account=statement.iban,
            bank=bank.name if bank else "",
            bic=bank.bic if bank else "",
        )
    else:
        yield f"{theirs}Наименование", statement.operator
    yield "НазначениеПлатежа", _purpose(movement)
    yield "ДатаВалютирования", day
    yield "Сумма", amount
    yield "Валюта", "KZT"
    yield "", ENDS[DOCUMENT]


def _shop(
    statement: ShopStatement, role: str, *, account: str, bank: str, bic: str
) -> Iterator[tuple[str, str]]:
    yield f"{role}Наименование", statement.merchant
    yield f"{role}БИН_ИИН", statement.bin_or_iin
    yield f"{role}КБЕ", statement.kbe
    yield f"{role}ИИК", account
    yield f"{role}БанкНаименование", bank
    yield f"{role}БанкБИК", bic


def _purpose(movement: Movement) -> str:
    said = [str(TITLES[movement.kind])]
    if movement.invoice:
        said.append(_("invoice %(reference)s") % {"reference": movement.invoice})
    if movement.order:
        said.append(_("order %(number)s") % {"number": movement.order})
    said += [one.txid for one in movement.transfers]
    return ", ".join(said)
