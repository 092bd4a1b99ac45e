"""A bank's statement as ``1CClientBankExchange``: 2.00, and 2.0 as Bank CenterCredit has it."""

from collections.abc import Mapping

from settlement.bank_files.one_c import Section, day_from, read_exchange
from settlement.bank_files.statements import (
    BankStatement,
    StatementError,
    StatementLine,
    require_equal,
    tiyn_from,
)
from settlement.money import Tiyn


def read_one_c(content: bytes) -> list[BankStatement]:
    """Read the statements of a file, one for each account; raises StatementError."""
    exchange = read_exchange(content)
    if not exchange.accounts:
        raise StatementError("The file has no account and its balances: it is no statement.")
    ibans = [_required(account.fields, "РасчСчет") for account in exchange.accounts]
    if len(set(ibans)) < len(ibans):
        raise StatementError("An account stands twice in the file.")
    lines: dict[str, list[StatementLine]] = {iban: [] for iban in ibans}
    for document in exchange.documents:
        if document.kind != "Выписка":
            raise StatementError(f"A document is {document.kind[:40]!r}, and not of a statement.")
        iban, line = _line(document)
        if iban not in lines:
            raise StatementError(f"A line is of another account, {iban[:40]!r}.")
        lines[iban].append(line)
    return [
        _statement(account, lines[iban])
        for account, iban in zip(exchange.accounts, ibans, strict=True)
    ]


def _statement(account: Section, lines: list[StatementLine]) -> BankStatement:
    fields = account.fields
    iban = fields["РасчСчет"]
    came_tiyn = sum(line.amount_tiyn for line in lines if line.amount_tiyn > 0)
    went_tiyn = -sum(line.amount_tiyn for line in lines if line.amount_tiyn < 0)
    require_equal(came_tiyn, _amount(fields, "ВсегоПоступило"), name=f"{iban}: lines in, and total")
    require_equal(went_tiyn, _amount(fields, "ВсегоСписано"), name=f"{iban}: lines out, and total")
    return BankStatement(
        iban=iban,
        begins_on=day_from(_required(fields, "ДатаНачала"), name="ДатаНачала"),
        ends_on=day_from(_required(fields, "ДатаКонца"), name="ДатаКонца"),
        opening_tiyn=_balance(fields, "НачальныйОстаток"),
        closing_tiyn=_balance(fields, "КонечныйОстаток"),
        lines=tuple(lines),
    )


def _line(document: Section) -> tuple[str, StatementLine]:
    """A document's account and line: it is the payee's where money came, else the payer's."""
    fields = document.fields
    came, went = _amount(fields, "СуммаПриход"), _amount(fields, "СуммаРасход")
    total = _amount(fields, "Сумма") or came + went
    if (came > 0) == (went > 0) or total != came + went:
        raise StatementError(f"A line says not clearly what came or went: {document.raw!r}")
    if fields.get("Валюта", "KZT") != "KZT":
        raise StatementError(f"A line is not in tenge: {document.raw!r}")
    own, other = ("Получатель", "Плательщик") if came else ("Плательщик", "Получатель")
    return fields.get(f"{own}ИИК", ""), StatementLine(
        booked_on=day_from(_required(fields, "ДатаОперации"), name="ДатаОперации"),
        amount_tiyn=Tiyn(came - went),
        reference=fields.get("НомерДокумента", ""),
        bank_reference="",
        counterparty_name=fields.get(f"{other}Наименование", ""),
        counterparty_bin_or_iin=fields.get(f"{other}БИН_ИИН", ""),
        counterparty_iban=fields.get(f"{other}ИИК", ""),
        purpose=fields.get("НазначениеПлатежа", ""),
        knp=fields.get("КодНазначенияПлатежа", ""),
        raw=document.raw,
    )


def _required(fields: Mapping[str, str], name: str) -> str:
    if not fields.get(name):
        raise StatementError(f"The field {name} is missing.")
    return fields[name]


def _amount(fields: Mapping[str, str], name: str) -> Tiyn:
    return tiyn_from(fields.get(name) or "0", name=name)


def _balance(fields: Mapping[str, str], name: str) -> Tiyn:
    return tiyn_from(_required(fields, name), name=name, may_be_negative=True)
