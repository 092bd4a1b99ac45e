"""Payment orders as ISO 20022 pain.001, versions 001.001.03 and 001.001.09.

The number of an order is its EndToEndId. KNP stands in the purpose of the payment (``Purp/Prtry``),
BIN or IIN and KBe in the identification of each party (``Id/…/Othr``, schemes BIN, IIN and KBE). No
bank of Kazakhstan publishes where it wants them: ask before the first file is sent.
"""

from enum import StrEnum
from typing import Final

# Writes only: nothing of a stranger's is parsed here.
from xml.etree.ElementTree import Element, SubElement, indent, tostring

from settlement.bank_files.orders import BankFile, Party, PaymentBatch, PaymentOrder
from settlement.banks import bank_of
from settlement.calendar import ALMATY
from settlement.formats import tenge_plain

NAME_CHARS_MAX: Final = 140
LINE_CHARS_MAX: Final = 140
"""Of one line of remittance information: a longer purpose is two of them."""


class Version(StrEnum):
    """A version of the message, as its namespace says it."""

    V03 = "pain.001.001.03"
    V09 = "pain.001.001.09"


def write_pain001(batch: PaymentBatch, *, version: Version) -> BankFile:
    """Write checked orders as one message with one payment block in KZT."""
    document = Element("Document", xmlns=f"urn:iso:std:iso:20022:tech:xsd:{version}")
    message = SubElement(document, "CstmrCdtTrfInitn")
    head = SubElement(message, "GrpHdr")
    _put(head, "MsgId", batch.reference)
    _put(head, "CreDtTm", batch.created_at.astimezone(ALMATY).isoformat(timespec="seconds"))
    _put_totals(head, batch)
    _put(SubElement(head, "InitgPty"), "Nm", batch.payer.name.strip()[:NAME_CHARS_MAX])
    block = SubElement(message, "PmtInf")
    _put(block, "PmtInfId", batch.reference)
    _put(block, "PmtMtd", "TRF")
    _put_totals(block, batch)
    wanted = SubElement(block, "ReqdExctnDt")
    (wanted if version is Version.V03 else SubElement(wanted, "Dt")).text = str(batch.value_on)
    _put_party(SubElement(block, "Dbtr"), batch.payer)
    account = SubElement(block, "DbtrAcct")
    _put_account(account, batch.payer)
    _put(account, "Ccy", "KZT")
    _put_bank(SubElement(block, "DbtrAgt"), batch.payer, version=version)
    for order in batch.orders:
        _put_order(SubElement(block, "CdtTrfTxInf"), order, version=version)
    indent(document)
    cut = [one.name for one in _parties(batch) if len(one.name) > NAME_CHARS_MAX]
    return BankFile(
        name=f"payments-{batch.reference}.xml",
        media_type="application/xml",
        content=tostring(document, encoding="UTF-8", xml_declaration=True),
        warnings=tuple(f"A name is cut to {NAME_CHARS_MAX} characters: {name}" for name in cut),
    )


def _put_order(transfer: Element, order: PaymentOrder, *, version: Version) -> None:
    _put(SubElement(transfer, "PmtId"), "EndToEndId", str(order.number))
    amount = SubElement(SubElement(transfer, "Amt"), "InstdAmt", Ccy="KZT")
    amount.text = tenge_plain(order.amount_tiyn)
    if bank_of(order.payee.iban):
        _put_bank(SubElement(transfer, "CdtrAgt"), order.payee, version=version)
    _put_party(SubElement(transfer, "Cdtr"), order.payee)
    _put_account(SubElement(transfer, "CdtrAcct"), order.payee)
    _put(SubElement(transfer, "Purp"), "Prtry", order.knp)
    remittance = SubElement(transfer, "RmtInf")
    purpose = order.purpose.strip()
    for start in range(0, len(purpose), LINE_CHARS_MAX):
        _put(remittance, "Ustrd", purpose[start : start + LINE_CHARS_MAX])


def _put_totals(parent: Element, batch: PaymentBatch) -> None:
    _put(parent, "NbOfTxs", str(len(batch.orders)))
    _put(parent, "CtrlSum", tenge_plain(batch.total_tiyn))


def _put_party(parent: Element, party: Party) -> None:
    _put(parent, "Nm", party.name.strip()[:NAME_CHARS_MAX])
    is_person = party.bin_or_iin[4] < "4"
    identification = SubElement(SubElement(parent, "Id"), "PrvtId" if is_person else "OrgId")
    for scheme, value in (("IIN" if is_person else "BIN", party.bin_or_iin), ("KBE", party.kbe)):
        other = SubElement(identification, "Othr")
        _put(other, "Id", value)
        _put(SubElement(other, "SchmeNm"), "Prtry", scheme)


def _put_account(parent: Element, party: Party) -> None:
    _put(SubElement(parent, "Id"), "IBAN", party.iban)


def _put_bank(parent: Element, party: Party, *, version: Version) -> None:
    institution = SubElement(parent, "FinInstnId")
    if bank := bank_of(party.iban):
        _put(institution, "BIC" if version is Version.V03 else "BICFI", bank.bic)
        _put(institution, "Nm", bank.name)
    else:
        _put(SubElement(institution, "Othr"), "Id", "NOTPROVIDED")


def _parties(batch: PaymentBatch) -> list[Party]:
    return [batch.payer, *(order.payee for order in batch.orders)]


def _put(parent: Element, name: str, text: str) -> None:
    SubElement(parent, name).text = text
