"""BIN, IIN, IBAN and the codes of banks against known numbers."""

import pytest
from django.core.exceptions import ValidationError

from settlement.banks import BANKS, Bank, bank_of
from settlement.identifiers import validate_bin_or_iin, validate_iban


@pytest.mark.parametrize(
    "number",
    [
        "791028302728",
        "061211600012",
        "971240001315",
        "940140000385",
        "990140004654",
        "250140000409",
        "250140000410",
    ],
)
def test_numbers_that_were_issued(number: str) -> None:
    validate_bin_or_iin(number)


@pytest.mark.parametrize(
    "number",
    ["971240001316", "791328302728", "12345", "", "97124000131a"]
    + [f"25014000046{digit}" for digit in range(10)],
)
def test_numbers_that_were_never_issued(number: str) -> None:
    with pytest.raises(ValidationError):
        validate_bin_or_iin(number)


@pytest.mark.parametrize(
    "iban",
    [
        "KZ86125KZT5004100100",
        "KZ41722C000000000001",
        "KZ31601A000000000001",
        "KZ758560000000000001",
        "KZ64998BTB0000000001",
    ],
)
def test_ibans(iban: str) -> None:
    validate_iban(iban)


@pytest.mark.parametrize(
    "iban", ["KZ42722C000000000001", "DE89370400440532013000", "KZ41 722C 0000 0000 0001", ""]
)
def test_what_is_no_iban(iban: str) -> None:
    with pytest.raises(ValidationError):
        validate_iban(iban)


@pytest.mark.parametrize(
    ("iban", "bic"),
    [
        ("KZ86125KZT5004100100", "NBRKKZKX"),
        ("KZ41722C000000000001", "CASPKZKA"),
        ("KZ31601A000000000001", "HSBKKZKX"),
        ("KZ758560000000000001", "KCJBKZKX"),
        ("KZ64998BTB0000000001", "TSESKZKA"),
    ],
)
def test_the_bank_of_an_iban(iban: str, bic: str) -> None:
    bank = bank_of(iban)
    assert bank is not None
    assert bank.bic == bic


def test_a_bank_that_is_not_listed_is_unknown_and_no_error() -> None:
    assert bank_of("KZ00999A000000000001") is None
    assert BANKS["914"] == Bank("BRKEKZKA", 'АО "Bereke Bank"')
    assert len({bank.bic for bank in BANKS.values()}) == len(BANKS)
