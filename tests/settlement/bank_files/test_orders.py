"""Payment orders: refused before a bank refuses them, and written in every form."""

import io
from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from importlib.resources import files
from typing import Any

import openpyxl
import pytest
import xmlschema
from hypothesis import given, settings
from hypothesis import strategies as st

from settlement.bank_files.one_c import read_exchange
from settlement.bank_files.orders import (
    REFUSED_CATEGORIES,
    OrdersRefusedError,
    Party,
    PaymentBatch,
    PaymentOrder,
    check_orders,
)
from settlement.bank_files.writing import OrdersForm, write_orders
from tests.settlement.bank_files.samples import BATCH, OPERATOR, ORDER, SECOND, SHOP, TRADER

WRITTEN = """1CClientBankExchange
ВерсияФормата=2.00
Кодировка=UTF8
Отправитель=Alatau Pay
Получатель=АО "Народный Банк Казахстана"
ДатаСоздания=24.11.2026
ВремяСоздания=18:11:22
ДатаНачала=24.11.2026
ДатаКонца=24.11.2026
РасчСчет=KZ31601A000000000001
СекцияДокумент=ПлатежноеПоручение
ВидДокумента=ПлатежноеПоручение
НомерДокумента=42
ДатаДокумента=24.11.2026
ПлательщикНаименование=ТОО "Провайдер"
ПлательщикБИН_ИИН=971240001315
ПлательщикКБЕ=17
ПлательщикИИК=KZ31601A000000000001
ПлательщикБанкНаименование=АО "Народный Банк Казахстана"
ПлательщикБанкБИК=HSBKKZKX
ПолучательНаименование=ЖШС "Дүкен"
ПолучательБИН_ИИН=250140000409
ПолучательКБЕ=17
ПолучательИИК=KZ41722C000000000001
ПолучательБанкНаименование=АО "Kaspi Bank"
ПолучательБанкБИК=CASPKZKA
НазначениеПлатежа=Возмещение по реестру 2026-11-24
КодНазначенияПлатежа=710
ДатаВалютирования=25.11.2026
Сумма=25000.00
Валюта=KZT
КонецДокумента
КонецФайла
"""


def _with_order(**changes: object) -> PaymentBatch:
    return replace(BATCH, orders=(replace(ORDER, **changes),))


def test_a_one_c_file_to_the_letter() -> None:
    file = write_orders(replace(BATCH, orders=(ORDER,)))
    assert file.content == WRITTEN.replace("\n", "\r\n").encode()
    assert file.name == "payments-PAYOUT-2026-11-24.txt"
    assert file.warnings == ()


def test_quotes_around_a_name_are_of_the_name() -> None:
    file = write_orders(_with_order(payee=replace(SHOP, name='"Дүкен"')))
    (document,) = read_exchange(file.content).documents
    assert document.fields["ПолучательНаименование"] == '"Дүкен"'


TEXTS = st.text(
    st.characters(exclude_categories=tuple(REFUSED_CATEGORIES)), min_size=1, max_size=140
).filter(lambda text: text.strip() != "")
PARTIES = st.builds(replace, st.sampled_from([SHOP, TRADER]), name=TEXTS)
ORDERS = st.lists(
    st.builds(
        PaymentOrder,
        number=st.integers(1, 999_999_999),
        payee=PARTIES,
        amount_tiyn=st.integers(1, 10**15),
        purpose=TEXTS,
        knp=st.from_regex(r"\A[0-9]{3}\Z"),
    ),
    min_size=1,
    max_size=4,
    unique_by=lambda order: order.number,
)


@settings(deadline=None)
@given(orders=ORDERS)
def test_what_is_written_as_one_c_is_read_as_it_was_meant(orders: list[PaymentOrder]) -> None:
    batch = replace(BATCH, orders=tuple(orders))
    content = write_orders(batch).content
    read = read_exchange(content).documents
    assert len(read) == len(orders)
    for document, order in zip(read, orders, strict=True):
        fields = document.fields
        assert document.kind == "ПлатежноеПоручение"
        assert _payee(fields) == replace(order.payee, name=order.payee.name.strip())
        assert fields["НомерДокумента"] == str(order.number)
        assert fields["НазначениеПлатежа"] == order.purpose.strip()
        assert fields["КодНазначенияПлатежа"] == order.knp
        assert int(fields["Сумма"].replace(".", "")) == order.amount_tiyn


def _payee(fields: Mapping[str, str]) -> Party:
    return Party(
        name=fields["ПолучательНаименование"],
        bin_or_iin=fields["ПолучательБИН_ИИН"],
        iban=fields["ПолучательИИК"],
        kbe=fields["ПолучательКБЕ"],
    )


@pytest.fixture(scope="module", params=["pain.001.001.03", "pain.001.001.09"])
def schema(request: pytest.FixtureRequest) -> xmlschema.XMLSchema:
    """The message's ISO 20022 schema, as the package sepaxml carries it."""
    return xmlschema.XMLSchema(str(files("sepaxml") / f"schemas/{request.param}.xsd"))


@settings(deadline=None)
@given(orders=ORDERS)
def test_pain001_is_valid_and_says_all_of_it(
    schema: xmlschema.XMLSchema, orders: list[PaymentOrder]
) -> None:
    batch = replace(BATCH, orders=tuple(orders))
    form = OrdersForm(schema.target_namespace.rpartition(":")[2])
    text = write_orders(batch, form=form).content.decode()
    message: Any = schema.to_dict(text, decimal_type=str)
    block = message["CstmrCdtTrfInitn"]["PmtInf"][0]
    assert block["NbOfTxs"] == str(len(orders))
    assert block["CtrlSum"].replace(".", "") == f"{batch.total_tiyn:03}"
    assert block["DbtrAgt"]["FinInstnId"]["Nm"] == 'АО "Народный Банк Казахстана"'
    for transfer, order in zip(block["CdtTrfTxInf"], orders, strict=True):
        assert transfer["PmtId"]["EndToEndId"] == str(order.number)
        assert transfer["Amt"]["InstdAmt"]["@Ccy"] == "KZT"
        assert transfer["Amt"]["InstdAmt"]["$"].replace(".", "") == f"{order.amount_tiyn:03}"
        assert transfer["CdtrAcct"]["Id"]["IBAN"] == order.payee.iban
        assert transfer["Purp"]["Prtry"] == order.knp
        assert "".join(transfer["RmtInf"]["Ustrd"]) == order.purpose.strip()
        (identification,) = transfer["Cdtr"]["Id"].values()
        assert [one["Id"] for one in identification["Othr"]] == [
            order.payee.bin_or_iin,
            order.payee.kbe,
        ]


def test_pain001_with_a_long_purpose_a_long_name_and_an_unknown_bank(
    schema: xmlschema.XMLSchema,
) -> None:
    payee = replace(SHOP, name="Ұ" * 200, iban="KZ12999A000000000001")
    batch = replace(
        BATCH,
        payer=replace(OPERATOR, iban="KZ36990A000000000001"),
        orders=(replace(ORDER, payee=_with_true_check_digits(payee), purpose="ң" * 210),),
    )
    batch = replace(batch, payer=_with_true_check_digits(batch.payer))
    file = write_orders(batch, form=OrdersForm(schema.target_namespace.rpartition(":")[2]))
    schema.validate(file.content.decode())
    assert [one.partition(":")[0] for one in file.warnings] == [
        "The bank with the code 990 is not listed",
        "The bank with the code 999 is not listed",
        "A name is cut to 140 characters",
    ]
    assert file.content.decode().count("<Ustrd>") == 2
    assert file.content.decode().count("NOTPROVIDED") == 1


def _with_true_check_digits(party: Party) -> Party:
    number = int("".join(str(int(one, 36)) for one in f"{party.iban[4:]}KZ00"))
    return replace(party, iban=f"KZ{98 - number % 97:02}{party.iban[4:]}")


def test_cp1251_has_no_kazakh_letters_and_says_so() -> None:
    file = write_orders(BATCH, form=OrdersForm.ONE_C_CP1251)
    text = file.content.decode("cp1251")
    assert "Кодировка=Windows\r\n" in text
    assert 'ПолучательНаименование=ЖШС "Дукен"\r\n' in text
    assert "ПолучательНаименование=ЖК Айгул Касымкызы\r\n" in text
    # і is in cp1251: Ukrainian has it too.
    assert "НазначениеПлатежа=2026-11-24 тізілімі бойынша отеу\r\n" in text
    assert file.warnings == (
        "cp1251 has no ҚқүӘө: names and purposes have Russian letters instead.",
    )
    assert [one.kind for one in read_exchange(file.content).documents] == ["ПлатежноеПоручение"] * 2
    plain = write_orders(
        replace(BATCH, orders=(replace(ORDER, payee=replace(SHOP, name="ТОО Дукен")),)),
        form=OrdersForm.ONE_C_CP1251,
    )
    assert plain.warnings == ()


def test_cp1251_refuses_a_letter_that_nobody_knows_to_replace() -> None:
    with pytest.raises(OrdersRefusedError, match="商"):
        write_orders(_with_order(payee=replace(SHOP, name="商店")), form=OrdersForm.ONE_C_CP1251)


@pytest.mark.case("R101")
@pytest.mark.parametrize(
    "text",
    ["=1+1", "+1", "-1", "@SUM(A1)", " =1", "\u00a0=1", '=HYPERLINK("http://x")', "'=1", "＝1"],
)
def test_a_workbook_holds_no_formula(text: str) -> None:
    batch = _with_order(purpose=text, payee=replace(SHOP, name=text))
    file = write_orders(batch, form=OrdersForm.XLSX)
    sheet = openpyxl.load_workbook(io.BytesIO(file.content)).worksheets[0]
    cells = list(sheet.iter_rows())[1]
    assert {cell.data_type for cell in cells} == {"s", "n"}
    values = {cell.value: cell for cell in cells}
    assert values[text].quotePrefix or text == "'=1"
    assert values["250140000409"].data_type == "s"
    assert values[25000].number_format == "#,##0.00"


@pytest.mark.parametrize(
    ("batch", "refusal"),
    [
        (replace(BATCH, orders=()), "1 to 10000 orders"),
        (replace(BATCH, orders=(ORDER,) * 10_001), "1 to 10000 orders"),
        (replace(BATCH, orders=(ORDER, replace(SECOND, number=42))), "Order 42: the number stands"),
        (replace(BATCH, reference="../../etc/passwd"), "reference"),
        (replace(BATCH, reference=""), "reference"),
        (replace(BATCH, value_on=BATCH.created_on - timedelta(days=1)), "value date"),
        (replace(BATCH, payer=replace(OPERATOR, kbe="7")), "Payer: the KBe"),
        (_with_order(number=0), "number is not"),
        (_with_order(number=10**9), "number is not"),
        (_with_order(amount_tiyn=0), "amount is not"),
        (_with_order(amount_tiyn=-1), "amount is not"),
        (_with_order(amount_tiyn=10**15 + 1), "amount is not"),
        (_with_order(knp="71"), "KNP"),
        (_with_order(knp="٧٧٧"), "KNP"),
        (_with_order(purpose=" "), "the purpose is empty"),
        (_with_order(purpose="x" * 211), "has 211 characters"),
        (_with_order(purpose="a\r\nСумма=1.00"), "line break"),
        (_with_order(purpose="a\u2028b"), "line break"),
        (_with_order(purpose="a\u202eb"), "line break"),
        (_with_order(purpose="a\ud800b"), "line break"),
        (_with_order(payee=replace(SHOP, name="Дүкен\nКонецФайла")), "line break"),
        (_with_order(payee=replace(SHOP, name="")), "the name is empty"),
        (_with_order(payee=replace(SHOP, name="x" * 201)), "has 201 characters"),
        (_with_order(payee=replace(SHOP, iban="KZ42722C000000000001")), "KZ42722C000000000001"),
        (_with_order(payee=replace(SHOP, bin_or_iin="971240001316")), "971240001316"),
        (_with_order(payee=replace(SHOP, kbe="30")), "KBe"),
        (_with_order(payee=replace(SHOP, iban=OPERATOR.iban)), "the payer pays itself"),
    ],
)
@pytest.mark.parametrize("form", OrdersForm)
def test_what_a_bank_would_refuse_is_not_written(
    batch: PaymentBatch, refusal: str, form: OrdersForm
) -> None:
    with pytest.raises(OrdersRefusedError, match=refusal):
        write_orders(batch, form=form)


def test_every_fault_is_told_at_once() -> None:
    batch = replace(
        BATCH, orders=(replace(ORDER, knp="", amount_tiyn=0), replace(SECOND, purpose=""))
    )
    with pytest.raises(OrdersRefusedError) as refused:
        check_orders(batch)
    assert len(refused.value.refusals) == 3


@pytest.mark.case("R121")
@pytest.mark.parametrize("amount", [25.0, "25", True])
def test_an_amount_is_an_int(amount: object) -> None:
    with pytest.raises(TypeError):
        check_orders(_with_order(amount_tiyn=amount))
