"""Shops that are owed, and a bank that tells what it paid in each of three forms."""

from dataclasses import dataclass
from datetime import date, datetime, timedelta

from django.db import connection, transaction

from settlement.accounts import COINS_HELD, MERCHANT_PAYABLE, PAYOUTS_IN_TRANSIT
from settlement.bank_files.orders import Party
from settlement.calendar import Every, PayoutSchedule, city_calendar, day_begins_at
from settlement.clock import today
from settlement.formats import day_plain, tenge_plain
from settlement.ledger import Entry, balance_of, moved, post_entries
from settlement.models import JournalEntry, Payout
from settlement.payout_export import export_batch
from settlement.payouts import PayoutTerms, Prepared, approve_batch, prepare_batch
from settlement.receivables import with_receivable
from tests.settlement.bank_files.samples import OPERATOR, SHOP, TRADER

PAYEES = {"aigul": SHOP, "bolat": TRADER}
EVERY_DAY = PayoutSchedule(every=Every.DAY)


def terms(
    *names: str,
    minimum_tiyn: int = 1,
    schedule: PayoutSchedule = EVERY_DAY,
    payee: Party | None = None,
) -> list[PayoutTerms]:
    """How some shops are paid."""
    return [
        PayoutTerms(
            beneficiary=name,
            payee=payee or PAYEES.get(name, SHOP),
            knp="710",
            schedule=schedule,
            minimum_tiyn=minimum_tiyn,
        )
        for name in names or PAYEES
    ]


def before_today() -> datetime:
    """The last moment of yesterday in Almaty."""
    return day_begins_at(today()) - timedelta(microseconds=1)


def owe(name: str, amount_tiyn: int, *, at: datetime | None = None, about: str = "") -> None:
    """Let a shop be owed an amount, or, below nothing, let the chain take it back."""
    source = f"sale {JournalEntry.objects.count()}"
    entry = Entry(
        kind="allocation",
        source=source,
        subject=about or source,
        demand=about,
        lines=moved(
            debit=COINS_HELD,
            credit=MERCHANT_PAYABLE,
            amount_tiyn=amount_tiyn,
            beneficiary=name,
        ),
        effective_at=at or before_today(),
    )
    with transaction.atomic():
        post_entries(with_receivable(entry, beneficiary=name))


def owed(name: str) -> int:
    """Tiyn that a shop is owed."""
    return -balance_of(MERCHANT_PAYABLE, beneficiary=name)


def in_transit(name: str) -> int:
    """Tiyn on their way to a shop."""
    return -balance_of(PAYOUTS_IN_TRANSIT, beneficiary=name)


def value_day() -> date:
    """The next day on which banks settle, which may be today."""
    return city_calendar().on_or_after(today())


def prepare(*of: PayoutTerms, by: str = "Dana") -> Prepared:
    """A batch of the next value day."""
    return prepare_batch(
        value_on=value_day(), payer=OPERATOR, terms=list(of) or terms(), prepared_by=by
    )


def exported(*of: PayoutTerms) -> list[Payout]:
    """The payouts of a batch that went to the bank."""
    batch = prepare(*of).batch
    assert batch is not None
    approve_batch(batch=batch, approved_by="Erlan")
    export_batch(batch=batch, exported_by="Dana")
    return list(Payout.objects.filter(batch=batch).order_by("pk"))


def check_deferred() -> None:
    """Let the database check now what it checks at commit."""
    with connection.cursor() as cursor:
        cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")
        cursor.execute("SET CONSTRAINTS ALL DEFERRED")


@dataclass(frozen=True)
class Told:
    """A line as a bank tells it: what went out is negative."""

    number: str
    amount_tiyn: int
    iban: str = ""
    bin_or_iin: str = ""
    name: str = "TOO DEMO"
    bank_reference: str = ""


def told_of(payout: Payout, *, back: bool = False, iban: str | None = None) -> Told:
    """The line of a payout that was paid, or came back."""
    return Told(
        number=str(payout.pk),
        amount_tiyn=payout.amount_tiyn if back else -payout.amount_tiyn,
        iban=payout.payee_iban if iban is None else iban,
        bin_or_iin=payout.payee_bin_or_iin,
        bank_reference=f"B{payout.pk}{'R' if back else ''}",
    )


def as_camt053(*lines: Told, day: date, opening_tiyn: int = 10**12) -> bytes:
    """A statement of the operator's account as camt.053."""

    def balance(code: str, tiyn: int) -> str:
        return (
            f"<Bal><Tp><CdOrPrtry><Cd>{code}</Cd></CdOrPrtry></Tp>"
            f"<Amt Ccy='KZT'>{tenge_plain(tiyn)}</Amt><CdtDbtInd>CRDT</CdtDbtInd>"
            f"<Dt><Dt>{day}</Dt></Dt></Bal>"
        )

    def entry(line: Told) -> str:
        role, sign = ("Dbtr", "CRDT") if line.amount_tiyn > 0 else ("Cdtr", "DBIT")
        account = f"<{role}Acct><Id><IBAN>{line.iban}</IBAN></Id></{role}Acct>"
        party = f"<OrgId><Othr><Id>{line.bin_or_iin}</Id></Othr></OrgId>"
        return (
            f"<Ntry><Amt Ccy='KZT'>{tenge_plain(abs(line.amount_tiyn))}</Amt>"
            f"<CdtDbtInd>{sign}</CdtDbtInd><Sts>BOOK</Sts><BookgDt><Dt>{day}</Dt></BookgDt>"
            f"<NtryDtls><TxDtls><Refs><AcctSvcrRef>{line.bank_reference}</AcctSvcrRef>"
            f"<EndToEndId>{line.number}</EndToEndId></Refs><RltdPties>"
            f"<{role}><Nm>{line.name}</Nm><Id>{party}</Id></{role}>{account if line.iban else ''}"
            f"</RltdPties></TxDtls></NtryDtls></Ntry>"
        )

    closing_tiyn = opening_tiyn + sum(line.amount_tiyn for line in lines)
    return (
        "<Document xmlns='urn:iso:std:iso:20022:tech:xsd:camt.053.001.02'><BkToCstmrStmt><Stmt>"
        f"<Acct><Id><IBAN>{OPERATOR.iban}</IBAN></Id></Acct>"
        f"{balance('OPBD', opening_tiyn)}{balance('CLBD', closing_tiyn)}"
        f"{''.join(entry(line) for line in lines)}</Stmt></BkToCstmrStmt></Document>"
    ).encode()


def as_mt940(*lines: Told, day: date, opening_tiyn: int = 10**12) -> bytes:
    """The same as MT940, which tells no account of the other side."""

    def comma(tiyn: int) -> str:
        return tenge_plain(abs(tiyn)).replace(".", ",")

    text = f":20:STMT\n:25:{OPERATOR.iban}\n:28C:1/1\n:60F:C{day:%y%m%d}KZT{comma(opening_tiyn)}\n"
    for line in lines:
        sign = "C" if line.amount_tiyn > 0 else "D"
        reference = f"{line.number}//{line.bank_reference or 'B1'}"
        text += f":61:{day:%y%m%d}{day:%m%d}{sign}{comma(line.amount_tiyn)}NTRF{reference}\n"
        text += f":86:/KNP/710/IDN/{line.bin_or_iin}/NAME/{line.name}/ASSIGN/Payout\n"
    closing_tiyn = opening_tiyn + sum(line.amount_tiyn for line in lines)
    return f"{text}:62F:C{day:%y%m%d}KZT{comma(closing_tiyn)}\n-\n".encode()


def as_one_c(*lines: Told, day: date, opening_tiyn: int = 10**12) -> bytes:
    """The same as 1C, which tells no reference of the bank's own."""
    on = day_plain(day)
    came = sum(line.amount_tiyn for line in lines if line.amount_tiyn > 0)
    went = -sum(line.amount_tiyn for line in lines if line.amount_tiyn < 0)
    fields = [
        "1CClientBankExchange", "ВерсияФормата=2.00", "Кодировка=UTF8",
        f"ДатаНачала={on}", f"ДатаКонца={on}", f"РасчСчет={OPERATOR.iban}",
        "СекцияРасчСчет", f"ДатаНачала={on}", f"ДатаКонца={on}", f"РасчСчет={OPERATOR.iban}",
        f"НачальныйОстаток={tenge_plain(opening_tiyn)}", f"ВсегоПоступило={tenge_plain(came)}",
        f"ВсегоСписано={tenge_plain(went)}",
        f"КонечныйОстаток={tenge_plain(opening_tiyn + came - went)}", "КонецРасчСчет",
    ]  # fmt: skip
    for line in lines:
        own, other = (
            ("Получатель", "Плательщик") if line.amount_tiyn > 0 else ("Плательщик", "Получатель")
        )
        amount = "СуммаПриход" if line.amount_tiyn > 0 else "СуммаРасход"
        fields += [
            "СекцияДокумент=Выписка", "ВидДокумента=ПлатежноеПоручение", f"ДатаОперации={on}",
            f"{amount}={tenge_plain(abs(line.amount_tiyn))}", f"НомерДокумента={line.number}",
            f"{own}ИИК={OPERATOR.iban}", f"{other}ИИК={line.iban}",
            f"{other}БИН_ИИН={line.bin_or_iin}", f"{other}Наименование={line.name}",
            "НазначениеПлатежа=Возмещение", "КонецДокумента",
        ]  # fmt: skip
    return "\r\n".join([*fields, "КонецФайла"]).encode()


FORMS = {"camt.053": as_camt053, "MT940": as_mt940, "1C": as_one_c}
