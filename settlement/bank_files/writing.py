"""Payment orders out: checked once, then written in the form that the bank takes."""

from collections.abc import Callable
from dataclasses import replace
from enum import StrEnum
from functools import partial
from typing import Final

from settlement.bank_files.one_c import Encoding
from settlement.bank_files.one_c_orders import write_one_c
from settlement.bank_files.orders import BankFile, PaymentBatch, check_orders
from settlement.bank_files.pain001 import Version, write_pain001
from settlement.bank_files.workbook import write_workbook


class OrdersForm(StrEnum):
    """A form that payment orders are written in; the first is the usual one."""

    ONE_C = "1c"
    ONE_C_CP1251 = "1c-cp1251"
    PAIN_001_03 = "pain.001.001.03"
    PAIN_001_09 = "pain.001.001.09"
    XLSX = "xlsx"


WRITERS: Final[dict[OrdersForm, Callable[[PaymentBatch], BankFile]]] = {
    OrdersForm.ONE_C: partial(write_one_c, encoding=Encoding.UTF8),
    OrdersForm.ONE_C_CP1251: partial(write_one_c, encoding=Encoding.CP1251),
    OrdersForm.PAIN_001_03: partial(write_pain001, version=Version.V03),
    OrdersForm.PAIN_001_09: partial(write_pain001, version=Version.V09),
    OrdersForm.XLSX: write_workbook,
}


def write_orders(batch: PaymentBatch, *, form: OrdersForm = OrdersForm.ONE_C) -> BankFile:
    """Write a batch; raises OrdersRefusedError, with every fault, for what a bank would refuse.

    The same batch gives the same file, save that an XLSX holds the moment of its writing.
    """
    warnings = check_orders(batch)
    file = WRITERS[form](batch)
    return replace(file, warnings=(*warnings, *file.warnings))
