"""Every sentence that a person may read stands in all three languages."""

import re
from pathlib import Path

import pytest
from babel.messages.pofile import read_po

ROOT = Path(__file__).resolve().parents[1]
IN_TEMPLATE = re.compile(r"{% translate [\"'](.+?)[\"'] %}")
IN_CODE = re.compile(r"\b_\(\"(.+?)\"\)")


def sentences() -> set[str]:
    found: set[str] = set()
    for template in (ROOT / "templates").rglob("*.html"):
        found |= set(IN_TEMPLATE.findall(template.read_text()))
    for package in ("alatau_pay", "merchants", "settlement", "chains"):
        for module in (ROOT / package).rglob("*.py"):
            found |= set(IN_CODE.findall(module.read_text()))
    return found


@pytest.mark.parametrize("language", ["kk", "ru", "en"])
def test_nothing_is_untranslated_or_fuzzy(language: str) -> None:
    with (ROOT / f"locale/{language}/LC_MESSAGES/django.po").open("rb") as file:
        catalogue = read_po(file)
    ready = {message.id for message in catalogue if message.string and not message.fuzzy}
    assert len(sentences()) > 20
    assert sentences() <= ready
