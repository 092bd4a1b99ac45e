"""Parties, orders and statements that the tests of bank files share."""

from datetime import UTC, date, datetime

from settlement.bank_files.orders import Party, PaymentBatch, PaymentOrder

TODAY = date(2026, 11, 24)
OPERATOR = Party(
    name='ТОО "Провайдер"', bin_or_iin="971240001315", iban="KZ31601A000000000001", kbe="17"
)
SHOP = Party(name='ЖШС "Дүкен"', bin_or_iin="250140000409", iban="KZ41722C000000000001", kbe="17")
TRADER = Party(
    name="ЖК Әйгүл Қасымқызы", bin_or_iin="791028302728", iban="KZ758560000000000001", kbe="19"
)
ORDER = PaymentOrder(
    number=42,
    payee=SHOP,
    amount_tiyn=2_500_000,
    purpose="Возмещение по реестру 2026-11-24",
    knp="710",
)
SECOND = PaymentOrder(
    number=43,
    payee=TRADER,
    amount_tiyn=1,
    purpose="2026-11-24 тізілімі бойынша өтеу",
    knp="859",
)
BATCH = PaymentBatch(
    reference="PAYOUT-2026-11-24",
    payer=OPERATOR,
    created_at=datetime(2026, 11, 24, 13, 11, 22, tzinfo=UTC),
    value_on=date(2026, 11, 25),
    orders=(ORDER, SECOND),
)

ONE_C = """1CClientBankExchange
ВерсияФормата=2.00
Кодировка=UTF8
Отправитель=Банк
Получатель=1С:Предприятие, Бухгалтерия для Казахстана
ДатаСоздания=24.11.2026
ВремяСоздания=18:11:22
ДатаНачала=24.11.2026
ДатаКонца=24.11.2026
РасчСчет=KZ41722C000000000001
СекцияРасчСчет
ДатаНачала=24.11.2026
ДатаКонца=24.11.2026
РасчСчет=KZ41722C000000000001
НачальныйОстаток=100.50
ВсегоПоступило=25000.00
ВсегоСписано=0.50
КонечныйОстаток=25100.00
КонецРасчСчет
СекцияДокумент=Выписка
ВидДокумента=ПлатежноеПоручение
ДатаОперации=24.11.2026
СуммаПриход=25000.00
НомерДокумента=1
ДатаДокумента=24.11.2026
ПлательщикНаименование=ТОО "Провайдер"
ПлательщикБИН_ИИН=971240001315
ПлательщикКБЕ=17
ПлательщикИИК=KZ31601A000000000001
ПлательщикБанкНаименование=АО "Народный Банк Казахстана"
ПлательщикБанкБИК=HSBKKZKX
ПолучательНаименование=ТОО "Дүкен"
ПолучательБИН_ИИН=250140000409
ПолучательКБЕ=17
ПолучательИИК=KZ41722C000000000001
ПолучательБанкНаименование=АО "Kaspi Bank"
ПолучательБанкБИК=CASPKZKA
НазначениеПлатежа=Возмещение по реестру 2026-11-24
КодНазначенияПлатежа=710
ДатаВалютирования=24.11.2026
Сумма=25000.00
Валюта=KZT
КонецДокумента
СекцияДокумент=Выписка
ВидДокумента=ПлатежныйОрдер
ДатаОперации=24.11.2026
СуммаРасход=0.50
НомерДокумента=2
ПлательщикНаименование=ТОО "Дүкен"
ПлательщикИИК=KZ41722C000000000001
ПолучательНаименование=АО "Kaspi Bank"
НазначениеПлатежа=Комиссия
КодНазначенияПлатежа=840
КонецДокумента
КонецФайла
"""

MT940 = """:20:STMT20261124
:25:KZ41722C000000000001
:28C:328/1
:60F:C261123KZT1000000,00
:61:2611241124C25000,00NTRFINV-0001//PO-0001
:86:/KNP/710/IDN/250140000013/NAME/TOO DEMO/ASSIGN/Oplata po schetu INV-0001
:61:2611241124D0,5NCHGNONREF
:62F:C261124KZT1024999,50
-
"""


def camt053(*entries: str, opening: str = "0.00", closing: str, version: str = "02") -> str:
    """A message with one statement of 2026-11-24."""
    balance = (
        "<Bal><Tp><CdOrPrtry><Cd>{code}</Cd></CdOrPrtry></Tp><Amt Ccy='KZT'>{amount}</Amt>"
        "<CdtDbtInd>CRDT</CdtDbtInd><Dt><Dt>2026-11-24</Dt></Dt></Bal>"
    )
    return (
        f"<Document xmlns='urn:iso:std:iso:20022:tech:xsd:camt.053.001.{version}'><BkToCstmrStmt>"
        "<GrpHdr><MsgId>M1</MsgId><CreDtTm>2026-11-24T18:00:00+05:00</CreDtTm></GrpHdr>"
        "<Stmt><Id>S1</Id><CreDtTm>2026-11-24T18:00:00+05:00</CreDtTm>"
        "<Acct><Id><IBAN>KZ41722C000000000001</IBAN></Id></Acct>"
        f"{balance.format(code='OPBD', amount=opening)}"
        f"{balance.format(code='CLBD', amount=closing)}"
        f"{''.join(entries)}</Stmt></BkToCstmrStmt></Document>"
    )


def entry(
    amount: str,
    *,
    sign: str = "CRDT",
    details: str = "",
    status: str = "BOOK",
    day: str = "2026-11-24",
    after: str = "",
) -> str:
    """A booked entry of a message."""
    return (
        f"<Ntry><Amt Ccy='KZT'>{amount}</Amt><CdtDbtInd>{sign}</CdtDbtInd><Sts>{status}</Sts>"
        f"<BookgDt><Dt>{day}</Dt></BookgDt>{after}"
        f"<BkTxCd><Prtry><Cd>KNP710</Cd></Prtry></BkTxCd>{details}</Ntry>"
    )


TRANSACTION = (
    "<TxDtls><Refs><AcctSvcrRef>B-77</AcctSvcrRef><EndToEndId>42</EndToEndId></Refs>"
    "<RltdPties><Dbtr><Nm>ТОО Провайдер</Nm><Id><OrgId><Othr><Id>971240001315</Id></Othr></OrgId>"
    "</Id></Dbtr><DbtrAcct><Id><IBAN>KZ31601A000000000001</IBAN></Id></DbtrAcct></RltdPties>"
    "<RmtInf><Ustrd>Возмещение</Ustrd></RmtInf></TxDtls>"
)
