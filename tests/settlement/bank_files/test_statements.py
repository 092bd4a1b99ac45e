"""Statements of banks: one meaning in three forms, and nothing believed that does not add up."""

from datetime import date, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from settlement.bank_files import reading
from settlement.bank_files.reading import read_statements
from settlement.bank_files.statements import (
    FILE_BYTES_MAX,
    BankStatement,
    StatementError,
    StatementMismatchError,
)
from tests.settlement.bank_files.samples import (
    MT940,
    ONE_C,
    TODAY,
    TRANSACTION,
    camt053,
    entry,
)

SHOP_IBAN = "KZ41722C000000000001"


def _read(text: str) -> BankStatement:
    (statement,) = read_statements(text.encode(), today=TODAY)
    return statement


def test_a_one_c_statement() -> None:
    statement = _read(ONE_C)
    assert (statement.iban, statement.begins_on, statement.ends_on) == (SHOP_IBAN, TODAY, TODAY)
    assert (statement.opening_tiyn, statement.closing_tiyn) == (10_050, 2_510_000)
    came, fee = statement.lines
    assert came.booked_on == TODAY
    assert came.amount_tiyn == 2_500_000
    assert came.reference == "1"
    assert came.counterparty_name == 'ТОО "Провайдер"'
    assert came.counterparty_bin_or_iin == "971240001315"
    assert came.counterparty_iban == "KZ31601A000000000001"
    assert came.purpose == "Возмещение по реестру 2026-11-24"
    assert came.knp == "710"
    assert came.raw.startswith("СекцияДокумент=Выписка\nВидДокумента=")
    assert came.raw.endswith("КонецДокумента")
    assert (fee.amount_tiyn, fee.counterparty_name) == (-50, 'АО "Kaspi Bank"')


@pytest.mark.parametrize("ends", ["\n", "\r\n"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "cp1251"])
def test_a_one_c_statement_as_bank_centercredit_writes_it(encoding: str, ends: str) -> None:
    ours = ONE_C.replace("ү", "у")
    theirs = (
        ours.replace("ВерсияФормата=2.00", "ВерсияФормата=2.0")
        .replace("Кодировка=UTF8\n", "")
        .replace("СекцияДокумент=Выписка", 'СекцияДокумент="Выписка"')
        .replace('ТОО "Провайдер"', '"ТОО ""Провайдер"""')
        .replace('=ТОО "Дукен"', '="ТОО ""Дукен"""')
        .replace("\n", ends)
    )
    (read,) = read_statements(theirs.encode(encoding), today=TODAY)
    assert [_meaning(line) for line in read.lines] == [_meaning(line) for line in _read(ours).lines]


def _meaning(line: object) -> dict[str, object]:
    return {name: getattr(line, name) for name in line.__slots__ if name != "raw"}  # type: ignore[attr-defined]


def test_a_one_c_file_of_two_accounts_is_two_statements() -> None:
    start, end = ONE_C.index("СекцияРасчСчет"), ONE_C.index("СекцияДокумент")
    account = ONE_C[start:end]
    other = account.replace(SHOP_IBAN, "KZ31601A000000000001")
    quiet = (
        other.replace("Остаток=100.50", "Остаток=7")
        .replace("Поступило=25000.00", "Поступило=0")
        .replace("Списано=0.50", "Списано=0")
        .replace("Остаток=25100.00", "Остаток=7")
    )
    file = ONE_C[:end] + quiet + ONE_C[end:]
    first, second = read_statements(file.encode(), today=TODAY)
    assert (len(first.lines), first.iban) == (2, SHOP_IBAN)
    assert (len(second.lines), second.iban, second.closing_tiyn) == (0, "KZ31601A000000000001", 700)
    with pytest.raises(StatementError, match="account stands twice"):
        _read(ONE_C[:end] + account + ONE_C[end:])


def test_an_mt940_statement() -> None:
    statement = _read(MT940)
    assert (statement.iban, statement.begins_on) == (SHOP_IBAN, date(2026, 11, 23))
    assert (statement.opening_tiyn, statement.closing_tiyn) == (100_000_000, 102_499_950)
    came, fee = statement.lines
    assert came.booked_on == TODAY
    assert came.amount_tiyn == 2_500_000
    assert (came.reference, came.bank_reference) == ("INV-0001", "PO-0001")
    assert came.counterparty_name == "TOO DEMO"
    assert came.counterparty_bin_or_iin == "250140000013"
    assert came.purpose == "Oplata po schetu INV-0001"
    assert came.knp == "710"
    assert came.raw == "\n".join(MT940.splitlines()[4:6])
    assert (fee.amount_tiyn, fee.reference, fee.purpose) == (-50, "", "")


def test_an_mt940_detail_that_goes_on_in_the_next_line() -> None:
    full = "/KNP/710/IDN/250140000013/NAME/TOO DEMO/ASSIGN/Oplata "
    full += "x" * (65 - len(full))
    text = MT940.replace(
        "/KNP/710/IDN/250140000013/NAME/TOO DEMO/ASSIGN/Oplata po schetu INV-0001",
        f"{full}\nyz\nand /KNP/999/ so on",
    )
    (came, _fee) = _read(text).lines
    assert came.purpose == f"{full.rpartition('/')[2]}yz and /KNP/999/ so on"
    assert came.knp == "710"


def test_an_mt940_tag_counts_once_the_first() -> None:
    (came, _fee) = _read(MT940.replace("/NAME/TOO DEMO", "/NAME/TOO DEMO/KNP/999/NAME/X")).lines
    assert (came.knp, came.counterparty_name) == ("710", "TOO DEMO")


def test_an_mt940_detail_without_tags_is_the_purpose() -> None:
    (came, _fee) = _read(MT940.replace("/KNP/710/IDN/250140000013/NAME/TOO DEMO/ASSIGN/", "")).lines
    assert (came.purpose, came.counterparty_name) == ("Oplata po schetu INV-0001", "")


def test_mt940_reversals_have_the_other_sign() -> None:
    text = MT940.replace("1124C25000,00", "1124RD25000,00").replace("1124D0,5", "1124RC0,5")
    assert [line.amount_tiyn for line in _read(text).lines] == [2_500_000, -50]


def test_mt940_messages_that_go_on_are_statements_of_their_own() -> None:
    first = MT940.replace(":62F:C261124KZT1024999,50", ":62M:C261124KZT1024999,50")
    second = (
        ":20:B\n:25:KZ41722C000000000001\n:60M:C261124KZT1024999,50\n:62F:C261124KZT1024999,5\n"
    )
    enveloped = f"{{1:F01AAAA}}{{4:\n{first}}}\n{{4:\n{second}-}}"
    statements = read_statements(enveloped.encode(), today=TODAY)
    assert [len(one.lines) for one in statements] == [2, 0]


@pytest.mark.parametrize("version", ["02", "04", "08", "13"])
def test_a_camt053_statement(version: str) -> None:
    details = f"<NtryDtls>{TRANSACTION}</NtryDtls>"
    text = camt053(
        entry("25000.00", details=details),
        entry("0.5", sign="DBIT"),
        entry("7.00", status="PDNG"),
        opening="1000.00",
        closing="25999.50",
        version=version,
    )
    if version >= "08":
        text = text.replace("<Sts>BOOK</Sts>", "<Sts><Cd>BOOK</Cd></Sts>")
        text = text.replace("<Sts>PDNG</Sts>", "<Sts><Cd>PDNG</Cd></Sts>")
        text = text.replace("<Dbtr><Nm>", "<Dbtr><Pty><Nm>").replace("</Dbtr>", "</Pty></Dbtr>")
    statement = _read(text)
    assert (statement.iban, statement.opening_tiyn) == (SHOP_IBAN, 100_000)
    came, fee = statement.lines
    assert came.booked_on == TODAY
    assert came.amount_tiyn == 2_500_000
    assert (came.reference, came.bank_reference) == ("42", "B-77")
    assert came.counterparty_name == "ТОО Провайдер"
    assert came.counterparty_bin_or_iin == "971240001315"
    assert came.counterparty_iban == "KZ31601A000000000001"
    assert came.purpose == "Возмещение"
    assert came.knp == "710"
    assert came.raw.startswith("<TxDtls>")
    assert (fee.amount_tiyn, fee.reference) == (-50, "")


def test_a_camt053_entry_of_several_transactions_is_as_many_lines() -> None:
    def transaction(number: int, amount: str) -> str:
        return (
            f"<TxDtls><Refs><EndToEndId>{number}</EndToEndId></Refs><AmtDtls><TxAmt>"
            f"<Amt Ccy='KZT'>{amount}</Amt></TxAmt></AmtDtls></TxDtls>"
        )

    def batch(*amounts: str) -> str:
        said = "".join(transaction(number, one) for number, one in enumerate(amounts, start=42))
        details = f"<NtryDtls>{said}</NtryDtls>"
        return camt053(entry("3.00", sign="DBIT", details=details), opening="5.00", closing="2.00")

    lines = _read(batch("1.00", "2.00")).lines
    assert [(one.reference, one.amount_tiyn) for one in lines] == [("42", -100), ("43", -200)]
    with pytest.raises(StatementMismatchError, match=r"differ by 0\.50"):
        _read(batch("1.00", "1.50"))
    with pytest.raises(StatementError, match="amount is missing"):
        _read(batch("1.00", "2.00").replace("AmtDtls", "Other"))


@pytest.mark.parametrize(
    ("text", "difference"),
    [
        (ONE_C.replace("КонечныйОстаток=25100.00", "КонечныйОстаток=25100.01"), r"0\.01"),
        (ONE_C.replace("НачальныйОстаток=100.50", "НачальныйОстаток=-100.50"), r"201\.00"),
        (ONE_C.replace("ВсегоПоступило=25000.00", "ВсегоПоступило=24999.00"), r"-1\.00"),
        (ONE_C.replace("ВсегоСписано=0.50", "ВсегоСписано=0"), r"-0\.50"),
        (MT940.replace("62F:C261124KZT1024999,50", "62F:C261124KZT1024999,51"), r"0\.01"),
        (MT940.replace("60F:C", "60F:D"), r"2000000\.00"),
        (camt053(entry("1.00"), closing="2.00"), r"1\.00"),
        (camt053(entry("1.00", sign="DBIT"), closing="1.00"), r"2\.00"),
    ],
)
def test_sums_that_do_not_agree_are_told_with_their_difference(text: str, difference: str) -> None:
    with pytest.raises(StatementMismatchError, match=f"differ by {difference}: "):
        _read(text)


BOMB = '<!DOCTYPE x [<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;&a;&a;">]>' + camt053(
    entry("1.00", details="<NtryDtls>&b;</NtryDtls>"), closing="1.00"
)
OUTSIDE = '<!DOCTYPE x [<!ENTITY a SYSTEM "file:///etc/passwd">]>' + camt053(closing="0.00")
TWICE = entry("1.00", details="<AcctSvcrRef>B-1</AcctSvcrRef>")


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "no MT940"),
        (b"/etc/passwd", "no MT940"),
        (b"\x00\x01", "UTF-16"),
        ("\ufeff".encode("utf-16-le") + ONE_C.encode("utf-16-le"), "UTF-16"),
        (b":20:\x98\xff", "neither UTF-8 nor cp1251"),
        (b"x" * (FILE_BYTES_MAX + 1), "bytes"),
        (BOMB.encode(), "XML cannot be read"),
        (OUTSIDE.encode(), "XML cannot be read"),
        (b"<a" * 10, "XML cannot be read"),
        (b"<?xml version='1.0' encoding='none-such'?><a/>", "XML cannot be read"),
        (b"<a>" * 100_000 + b"</a>" * 100_000, "no camt.053"),
        (
            camt053(
                entry("1.00", details="<x>" * 50_000 + "</x>" * 50_000), closing="1.00"
            ).encode(),
            "nested too deep",
        ),
        (camt053(closing="0.00").replace("camt.053", "pain.001").encode(), "no camt.053"),
        (camt053(closing="0.00").replace("Stmt>", "Ntfctn>").encode(), "no statement"),
        (camt053(closing="0.00").replace("OPBD", "ITAV").encode(), "no balance OPBD or PRCD"),
        (camt053(closing="0.00").replace("CLBD", "OPBD").encode(), "stands twice"),
        (camt053(closing="0.00")[:-30].encode(), "XML cannot be read"),
        (camt053(entry("-1.00"), closing="1.00").encode(), "not an amount"),
        (camt053(entry("1.000"), closing="1.00").encode(), "not an amount"),
        (camt053(entry("1e3"), closing="1.00").encode(), "not an amount"),
        (camt053(entry("NaN"), closing="1.00").encode(), "not an amount"),
        (camt053(entry("١.00"), closing="1.00").encode(), "not an amount"),
        (camt053(entry("9" * 16), closing="1.00").encode(), "not an amount"),
        (camt053(entry("1.00", sign="X"), closing="1.00").encode(), "neither CRDT nor DBIT"),
        (camt053(entry("1.00", status="?"), closing="1.00").encode(), "no status"),
        (camt053(entry("1.00"), closing="1.00").replace("KZT", "USD").encode(), "not in tenge"),
        (camt053(entry("1.00", day="2026-11-23"), closing="1.00").encode(), "not within"),
        (camt053(entry("1.00", day="0001-01-01"), closing="1.00").encode(), "not within"),
        (camt053(entry("1.00", day="2026-02-30"), closing="1.00").encode(), "is no day"),
        (
            camt053(entry("1.00", day="9999-12-31T23:59:59-12:00"), closing="1.00").encode(),
            "no day",
        ),
        (camt053(TWICE, TWICE, closing="2.00").encode(), "stands 2 times"),
        (ONE_C.replace("КонецФайла\n", "").encode(), "cut short"),
        (ONE_C[: ONE_C.rindex("СуммаРасход")].encode(), "cut short"),
        (ONE_C.replace("КонецДокумента\n", "").encode(), "has no end"),
        (ONE_C.replace("=2.00\n", "=1.03\n").encode(), "version"),
        (ONE_C.replace("Сумма=25000.00", "Сумма=25000.00\nСумма=1").encode(), "stands twice"),
        (ONE_C.replace("Сумма=25000.00", "Сумма=24000.00").encode(), "not clearly"),
        (ONE_C.replace("СуммаПриход=25000.00", "СуммаПриход=-25000.00").encode(), "not an amount"),
        (ONE_C.replace("СуммаПриход=25000.00", "СуммаПриход=25000.000").encode(), "not an amount"),
        (ONE_C.replace("СуммаПриход=25000.00", "СуммаПриход=25 000.00").encode(), "not an amount"),
        (
            ONE_C.replace("СуммаПриход=25000.00", "СуммаПриход=1\nСуммаРасход=1").encode(),
            "not clearly",
        ),
        (
            ONE_C.replace("ДатаОперации=24.11.2026", "ДатаОперации=24.11.1026").encode(),
            "not within",
        ),
        (ONE_C.replace("ДатаОперации=24.11.2026", "ДатаОперации=31.11.2026").encode(), "not a day"),
        (ONE_C.replace("ДатаОперации=24.11.2026", "ДатаОперации=2026-11-24").encode(), "not a day"),
        (ONE_C.replace("24.11.2026", "25.11.2026").encode(), "not within"),
        (ONE_C.replace("24.11.2026", "24.11.2019").encode(), "not within"),
        (ONE_C.replace("ПолучательИИК=KZ41", "ПолучательИИК=KZ31").encode(), "another account"),
        (ONE_C.replace("Валюта=KZT", "Валюта=USD").encode(), "not in tenge"),
        (ONE_C.replace("ДатаОперации=24.11.2026", "ДатаОперации").encode(), "no field"),
        (ONE_C.replace("НачальныйОстаток=100.50\n", "").encode(), "НачальныйОстаток is missing"),
        (
            ONE_C.replace("Документ=Выписка", "Документ=ПлатежноеПоручение").encode(),
            "of a statement",
        ),
        (ONE_C.replace("ү", "у").encode("cp866"), "does not end"),
        (MT940.replace(":62F:C261124KZT1024999,50", "").encode(), "no closing balance"),
        (MT940.replace(":60F:C261123KZT1000000,00", "").encode(), "no opening balance"),
        (MT940.replace("KZT", "USD").encode(), "not in tenge"),
        (MT940.replace("C25000,00", "C-25000,00").encode(), "cannot be read"),
        (MT940.replace("C25000,00", "C25000,000").encode(), "not an amount"),
        (MT940.replace("C25000,00", "C25,000,00").encode(), "cannot be read"),
        (
            MT940.replace("C25000,00", "C2500000000000000,00").encode(),
            "2 lines of field 61 were read as 1",
        ),
        (MT940.replace("D0,5NCHGNONREF", "D0,5").encode(), "no type"),
        (MT940.replace("2611241124C", "2613241124C").encode(), "cannot be read"),
        (MT940.replace("2611241124C", "2611241224C").encode(), "not within"),
        (MT940.replace(":62F:C261124", ":62F:C261125").encode(), "not within"),
    ],
)
def test_what_cannot_be_believed_is_refused_with_its_reason(content: bytes, reason: str) -> None:
    with pytest.raises(StatementError, match=reason):
        read_statements(content, today=TODAY)


def test_equal_lines_that_nothing_names_are_two() -> None:
    lines = _read(camt053(entry("1.00"), entry("1.00"), closing="2.00")).lines
    assert len(lines) == 2


def test_nothing_of_a_statement_that_cannot_be_read_is_logged(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with pytest.raises(StatementError):
        _read(MT940.replace("C25000,00", "C-25000,00"))
    assert not caplog.records


def test_quotes_are_taken_off_only_where_they_stand_around_a_value() -> None:
    theirs = ONE_C.replace("=2.00\n", "=2.0\n").replace('=ТОО "Провайдер"', '="A" "B"')
    assert _read(theirs).lines[0].counterparty_name == '"A" "B"'
    assert _read(theirs.replace('"A" "B"', '"')).lines[0].counterparty_name == '"'


def test_the_size_is_looked_at_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "FILE_BYTES_MAX", len(MT940) - 1)
    with pytest.raises(StatementError, match="one by one"):
        _read(MT940)


SAMPLES = [
    ONE_C.encode(),
    MT940.encode(),
    camt053(
        entry("25000.00", details=f"<NtryDtls>{TRANSACTION}</NtryDtls>"),
        entry("0.5", sign="DBIT"),
        closing="24999.50",
    ).encode(),
]


@settings(deadline=None)
@given(
    sample=st.sampled_from(SAMPLES),
    position=st.integers(0, 5_000),
    cut=st.integers(0, 40),
    put=st.one_of(
        st.binary(max_size=20), st.sampled_from([b"\n", b"=", b"<", b":61:", b",", b"-", b"0"])
    ),
)
def test_a_broken_file_is_refused_or_adds_up_and_never_crashes(
    sample: bytes, position: int, cut: int, put: bytes
) -> None:
    position %= len(sample)
    broken = sample[:position] + put + sample[position + cut :]
    try:
        statements = read_statements(broken, today=TODAY)
    except StatementError:
        return
    for one in statements:
        moved = sum(line.amount_tiyn for line in one.lines)
        assert one.opening_tiyn + moved == one.closing_tiyn
        assert all(one.begins_on <= line.booked_on <= one.ends_on for line in one.lines)
        assert one.ends_on <= TODAY + timedelta(days=0)
