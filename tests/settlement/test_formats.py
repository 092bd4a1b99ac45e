"""Tenge and days as people and files read them."""

from datetime import date

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from settlement.formats import (
    day_in_words,
    day_plain,
    iban_in_groups,
    tenge,
    tenge_in_column,
    tenge_plain,
    tenge_short,
)


@pytest.mark.parametrize(
    ("language", "text", "short"),
    [
        ("kk", "1\u00a0234\u00a0567,00\u00a0₸", "1\u00a0234\u00a0567\u00a0₸"),
        ("ru", "1\u00a0234\u00a0567,00\u00a0₸", "1\u00a0234\u00a0567\u00a0₸"),
        ("en", "1,234,567.00\u00a0₸", "1,234,567\u00a0₸"),
    ],
)
def test_whole_tenge(language: str, text: str, short: str) -> None:
    assert tenge(123_456_700, language) == text
    assert tenge_short(123_456_700, language) == short


def test_tiyn_are_never_left_out() -> None:
    assert (
        tenge(123_456_750, "kk")
        == tenge_short(123_456_750, "kk")
        == "1\u00a0234\u00a0567,50\u00a0₸"
    )
    assert tenge_short(5, "en") == "0.05\u00a0₸"


def test_what_is_owed_the_other_way() -> None:
    assert tenge(-123_405, "ru") == "-1\u00a0234,05\u00a0₸"
    assert tenge_short(-100, "en") == "-1\u00a0₸"
    assert tenge_in_column(-5, "en") == "-0.05"
    assert tenge_plain(-5) == "-0.05"


@settings(deadline=None)
@given(amount_tiyn=st.integers(-(10**17), 10**17), language=st.sampled_from(["kk", "ru", "en"]))
def test_every_way_says_the_same(amount_tiyn: int, language: str) -> None:
    plain = tenge_plain(amount_tiyn)
    assert int(plain.replace(".", "")) == amount_tiyn
    for text in (tenge(amount_tiyn, language), tenge_in_column(amount_tiyn, language)):
        digits = "".join(one for one in text if one in "-0123456789")
        assert int(digits) == amount_tiyn


def test_an_iban_as_it_is_printed() -> None:
    assert iban_in_groups("KZ41722C000000000001") == "KZ41\u00a0722C\u00a00000\u00a00000\u00a00001"


def test_days() -> None:
    day = date(2026, 11, 24)
    assert day_in_words(day, "kk") == "2026\u00a0ж. 24 қараша"
    assert day_in_words(day, "ru") == "24 ноября 2026\u00a0г."
    assert day_in_words(day, "en") == "24 November 2026"
    assert day_plain(day) == "24.11.2026"
