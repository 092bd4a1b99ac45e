"""A bank's statement as ISO 20022 camt.053, any version from 001.001.01 on.

Only booked entries count. An entry with several transactions (a batch that the bank booked as one)
is as many lines, which must come to the entry's amount.
"""

import re
from datetime import date, datetime
from typing import Final

# A parsed tree's type; parsing itself is defusedxml's: no DTD, no entity, nothing fetched.
from xml.etree.ElementTree import Element, ParseError, tostring

from defusedxml.common import DefusedXmlException
from defusedxml.ElementTree import fromstring

from settlement.bank_files.statements import (
    BankStatement,
    StatementError,
    StatementLine,
    require_equal,
    tiyn_from,
)
from settlement.calendar import almaty_day
from settlement.money import Tiyn

NAMESPACE: Final = re.compile(r"urn:iso:std:iso:20022:tech:xsd:camt\.053\.001\.[0-9]{2}")
OPENINGS: Final = ("OPBD", "PRCD")
"""Opening booked, else the closing booked balance of the statement before."""
SIGN_BY_INDICATOR: Final = {"CRDT": 1, "DBIT": -1}
DEPTH_MAX: Final = 64
"""Messages reach some twenty."""
NO_REFERENCE: Final = "NOTPROVIDED"


def read_camt053(content: bytes) -> list[BankStatement]:
    """Read the statements of a message; raises StatementError."""
    try:
        document = fromstring(content, forbid_dtd=True)
    except (DefusedXmlException, ParseError, ValueError, LookupError) as error:
        raise StatementError(f"The XML cannot be read: {error!r}"[:200]) from None
    namespace = document.tag.removeprefix("{").partition("}")[0]
    if not NAMESPACE.fullmatch(namespace):
        raise StatementError(f"The XML is no camt.053 statement: {namespace[:80]!r}")
    _require_shallow(document)
    for element in document.iter():
        # One namespace in a message: names alone are as clear, in every version.
        element.tag = element.tag.rpartition("}")[2]
    statements = document.findall("BkToCstmrStmt/Stmt")
    if not statements:
        raise StatementError("The message holds no statement.")
    return [_statement(one) for one in statements]


def _require_shallow(document: Element) -> None:
    """Raise StatementError for elements too deep for what walks them by calling itself."""
    level = [document]
    for _depth in range(DEPTH_MAX):
        level = [child for element in level for child in element]
        if not level:
            return
    raise StatementError("The XML is nested too deep.")


def _statement(statement: Element) -> BankStatement:
    iban = _text(statement, "Acct/Id/IBAN")
    opening_tiyn, opened_on = _balance(statement, *OPENINGS)
    closing_tiyn, closed_on = _balance(statement, "CLBD")
    lines: list[StatementLine] = []
    for entry in statement.findall("Ntry"):
        # A code inside an element since version 08.
        status = _text(entry, "Sts/Cd") or _text(entry, "Sts")
        if status == "BOOK":
            lines += _lines(entry)
        elif status not in {"PDNG", "INFO", "FUTR"}:
            raise StatementError(f"An entry has no status that is known: {status[:20]!r}")
    return BankStatement(
        iban=iban,
        begins_on=opened_on,
        ends_on=closed_on,
        opening_tiyn=opening_tiyn,
        closing_tiyn=closing_tiyn,
        lines=tuple(lines),
    )


def _balance(statement: Element, *codes: str) -> tuple[Tiyn, date]:
    """A balance and its day: the first of some codes that the statement has."""
    for code in codes:
        found = [one for one in statement.findall("Bal") if _text(one, "Tp/CdOrPrtry/Cd") == code]
        if len(found) > 1:
            raise StatementError(f"The balance {code} stands twice.")
        if found:
            return Tiyn(_sign(found[0]) * _amount(found[0], "Amt")), _day(found[0], "Dt")
    raise StatementError(f"The statement has no balance {' or '.join(codes)}.")


def _lines(entry: Element) -> list[StatementLine]:
    sign, total_tiyn = _sign(entry), _amount(entry, "Amt")
    booked_on = _day(entry, "BookgDt")
    details = entry.findall("NtryDtls/TxDtls") or [entry]
    if len(details) == 1:
        amounts = [total_tiyn]
    else:
        amounts = [_amount(one, "Amt", "AmtDtls/TxAmt/Amt") for one in details]
        require_equal(sum(amounts), total_tiyn, name="The transactions and their entry")
    return [
        _line(entry, one, booked_on=booked_on, amount_tiyn=Tiyn(sign * amount))
        for one, amount in zip(details, amounts, strict=True)
    ]


def _line(entry: Element, detail: Element, *, booked_on: date, amount_tiyn: Tiyn) -> StatementLine:
    role = "Dbtr" if amount_tiyn > 0 else "Cdtr"
    party = f"RltdPties/{role}"
    reference = _text(detail, "Refs/EndToEndId")
    # A party stands in an element of its own since version 08.
    name = _text(detail, f"{party}/Nm") or _text(detail, f"{party}/Pty/Nm")
    purpose = "".join(one.text or "" for one in detail.findall("RmtInf/Ustrd"))
    return StatementLine(
        booked_on=booked_on,
        amount_tiyn=amount_tiyn,
        reference="" if reference == NO_REFERENCE else reference,
        bank_reference=_text(detail, "Refs/AcctSvcrRef") or _text(entry, "AcctSvcrRef"),
        counterparty_name=name,
        counterparty_bin_or_iin=_identifier(detail.find(party)),
        counterparty_iban=_text(detail, f"RltdPties/{role}Acct/Id/IBAN"),
        purpose=purpose or _text(detail, "AddtlTxInf") or _text(entry, "AddtlNtryInf"),
        knp=_knp(entry, detail),
        raw=_raw(entry if detail is entry else detail),
    )


def _identifier(party: Element | None) -> str:
    """The BIN or IIN among a party's identifications, whatever the scheme is called."""
    found = (
        [] if party is None else [(one.text or "").strip() for one in party.iterfind(".//Othr/Id")]
    )
    return next((one for one in found if re.fullmatch(r"[0-9]{12}", one)), "")


def _knp(entry: Element, detail: Element) -> str:
    said = [_text(detail, "Purp/Prtry"), _text(entry, "BkTxCd/Prtry/Cd")]
    found = (re.fullmatch(r"(?:KNP)?([0-9]{3})", one) for one in said)
    return next((one[1] for one in found if one), "")


def _sign(element: Element) -> int:
    indicator = _text(element, "CdtDbtInd")
    if indicator not in SIGN_BY_INDICATOR:
        raise StatementError(f"An amount is neither CRDT nor DBIT: {indicator[:20]!r}")
    return SIGN_BY_INDICATOR[indicator]


def _amount(element: Element, *paths: str) -> Tiyn:
    """The amount at the first path that there is, in tiyn; raises for another currency."""
    found = next((one for path in paths if (one := element.find(path)) is not None), None)
    if found is None:
        raise StatementError(f"An amount is missing: {_raw(element)!r}")
    if found.get("Ccy") != "KZT":
        raise StatementError(f"An amount is not in tenge: {_raw(element)!r}")
    return tiyn_from((found.text or "").strip(), name="An amount")


def _day(element: Element, path: str) -> date:
    """The day at a path: a date, or Almaty's of a moment, inside an element of its own or not."""
    said = _text(element, f"{path}/Dt") or _text(element, f"{path}/DtTm") or _text(element, path)
    try:
        if "T" not in said:
            return date.fromisoformat(said)
        moment = datetime.fromisoformat(said)
        return moment.date() if moment.tzinfo is None else almaty_day(moment)
    except (ValueError, OverflowError):
        raise StatementError(f"{path} is no day: {said[:40]!r}") from None


def _text(element: Element, path: str) -> str:
    return (element.findtext(path) or "").strip()


def _raw(element: Element) -> str:
    return tostring(element, encoding="unicode").strip()
