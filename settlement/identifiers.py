"""Kazakhstan's identifiers: IIN and BIN (two-pass check digit), IBAN (ISO 13616, mod 97)."""

import re
from datetime import date
from typing import Final

from django.core.exceptions import ValidationError
from django.utils.translation import gettext_lazy as _

WEIGHTS_FIRST: Final = tuple(range(1, 12))
WEIGHTS_SECOND: Final = (3, 4, 5, 6, 7, 8, 9, 10, 11, 1, 2)
CENTURY_BY_DIGIT: Final = {1: 1800, 2: 1800, 3: 1900, 4: 1900, 5: 2000, 6: 2000}


def validate_bin_or_iin(text: str) -> None:
    """Raise ValidationError unless ``text`` is a BIN or an IIN that could have been issued."""
    if not re.fullmatch(r"[0-9]{12}", text):
        raise ValidationError(_("A BIN or IIN has 12 digits."), code="format")
    digits = [int(digit) for digit in text]
    if _check_digit(digits[:11]) != digits[11]:
        raise ValidationError(_("The BIN or IIN has a wrong check digit."), code="check_digit")
    # The fifth digit tells them apart: the tens of a day, or the type of an organisation.
    if digits[4] > 6 or not (_is_birth_date(text) if digits[4] < 4 else 1 <= int(text[2:4]) <= 12):
        raise ValidationError(_("The BIN or IIN holds a date that does not exist."), code="date")


def validate_iban(text: str) -> None:
    """Raise ValidationError unless ``text`` is a Kazakh IBAN, written without spaces."""
    if not re.fullmatch(r"KZ[0-9]{5}[0-9A-Z]{13}", text):
        raise ValidationError(_("An IBAN of Kazakhstan is KZ and 18 characters."), code="format")
    turned = text[4:] + text[:4]
    if int("".join(str(int(character, 36)) for character in turned)) % 97 != 1:
        raise ValidationError(_("The IBAN has wrong check digits."), code="check_digits")


def _check_digit(digits: list[int]) -> int | None:
    for weights in (WEIGHTS_FIRST, WEIGHTS_SECOND):
        remainder = sum(d * w for d, w in zip(digits, weights, strict=True)) % 11
        if remainder < 10:
            return remainder
    return None  # such a number was never issued


def _is_birth_date(text: str) -> bool:
    # 0 is seen for foreigners, whose century it does not tell.
    century = CENTURY_BY_DIGIT.get(int(text[6]), 2000 if text[6] == "0" else None)
    if century is None:
        return False
    try:
        date(century + int(text[:2]), int(text[2:4]), int(text[4:6]))
    except ValueError:
        return False
    return True
