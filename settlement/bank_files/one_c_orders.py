"""Payment orders as ``1CClientBankExchange``, Kazakhstan's dialect 2.00."""

from collections.abc import Iterator

from settlement.bank_files.one_c import DOCUMENT, END_OF_FILE, ENDS, Encoding, encoded, header
from settlement.bank_files.orders import BankFile, Party, PaymentBatch, PaymentOrder
from settlement.banks import bank_of
from settlement.calendar import ALMATY
from settlement.formats import day_plain, tenge_plain


def write_one_c(batch: PaymentBatch, *, encoding: Encoding) -> BankFile:
    """Write checked orders; cp1251 lacks Kazakh letters and warns of those that it replaces."""
    bank = bank_of(batch.payer.iban)
    fields = header(
        encoding=encoding,
        recipient=bank.name if bank else "",
        created_at=batch.created_at.astimezone(ALMATY),
        days=(batch.created_on, batch.created_on),
        iban=batch.payer.iban,
    )
    for order in batch.orders:
        fields += _document(batch, order)
    content, warnings = encoded([*fields, ("", END_OF_FILE)], encoding=encoding)
    return BankFile(
        name=f"payments-{batch.reference}.txt",
        media_type="text/plain",
        content=content,
        warnings=tuple(warnings),
    )


def party_fields(role: str, party: Party) -> Iterator[tuple[str, str]]:
    """The six fields of who pays (``Плательщик``) or is paid (``Получатель``)."""
    bank = bank_of(party.iban)
    yield f"{role}Наименование", party.name
    yield f"{role}БИН_ИИН", party.bin_or_iin
    yield f"{role}КБЕ", party.kbe
    yield f"{role}ИИК", party.iban
    yield f"{role}БанкНаименование", bank.name if bank else ""
    yield f"{role}БанкБИК", bank.bic if bank else ""


def _document(batch: PaymentBatch, order: PaymentOrder) -> Iterator[tuple[str, str]]:
    yield DOCUMENT, "ПлатежноеПоручение"
    yield "ВидДокумента", "ПлатежноеПоручение"
    yield "НомерДокумента", str(order.number)
    yield "ДатаДокумента", day_plain(batch.created_on)
    yield from party_fields("Плательщик", batch.payer)
    yield from party_fields("Получатель", order.payee)
    yield "НазначениеПлатежа", order.purpose
    yield "КодНазначенияПлатежа", order.knp
    yield "ДатаВалютирования", day_plain(batch.value_on)
    yield "Сумма", tenge_plain(order.amount_tiyn)
    yield "Валюта", "KZT"
    yield "", ENDS[DOCUMENT]
