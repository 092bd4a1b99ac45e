"""Payment orders as a sheet, for banks whose cabinets import Excel."""

from typing import Final

from settlement.bank_files.orders import BankFile, PaymentBatch
from settlement.banks import bank_of
from settlement.formats import day_plain
from settlement.spreadsheets import Amount, Cell, write_xlsx

HEADINGS: Final = (
    "Номер",
    "Дата",
    "Дата валютирования",
    "ИИК плательщика",
    "Получатель",
    "БИН/ИИН",
    "КБе",
    "ИИК",
    "Банк",
    "БИК",
    "Сумма",
    "Валюта",
    "Назначение платежа",
    "КНП",
)
WIDTHS: Final = (10, 12, 12, 24, 36, 14, 6, 24, 32, 12, 18, 8, 60, 6)


def write_workbook(batch: PaymentBatch) -> BankFile:
    """Write checked orders, one a row; numbers that are names (BIN, KNP) are text."""
    rows: list[tuple[Cell, ...]] = [HEADINGS]
    for order in batch.orders:
        bank = bank_of(order.payee.iban)
        rows.append(
            (
                str(order.number),
                day_plain(batch.created_on),
                day_plain(batch.value_on),
                batch.payer.iban,
                order.payee.name,
                order.payee.bin_or_iin,
                order.payee.kbe,
                order.payee.iban,
                bank.name if bank else "",
                bank.bic if bank else "",
                Amount(order.amount_tiyn),
                "KZT",
                order.purpose,
                order.knp,
            )
        )
    return BankFile(
        name=f"payments-{batch.reference}.xlsx",
        media_type="application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
        content=write_xlsx(rows, title="Платежи", widths=WIDTHS),
    )
