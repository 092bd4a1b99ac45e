"""Every sentence that a person may read stands in all three languages."""

import re

import pytest

from tools.messages import LANGUAGES, read_catalogue, sentences

PLACEHOLDER = re.compile(r"%\(\w+\)[sd]")


def every_form(text: str | tuple[str, ...]) -> list[str]:
    return [text] if isinstance(text, str) else list(text)


@pytest.mark.parametrize("language", LANGUAGES)
def test_nothing_is_untranslated_fuzzy_or_no_longer_said(language: str) -> None:
    said = {(message.context, message.id) for message in sentences() if message.id}
    catalogue = read_catalogue(language)
    ready = {
        (message.context, message.id)
        for message in catalogue
        if message.id and all(every_form(message.string)) and not message.fuzzy
    }
    assert len(said) > 20
    assert said == ready
    assert not catalogue.obsolete


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_translation_keeps_the_placeholders(language: str) -> None:
    for message in read_catalogue(language):
        if message.id:
            wanted = set(PLACEHOLDER.findall(every_form(message.id)[-1]))
            for form in every_form(message.string):
                assert set(PLACEHOLDER.findall(form)) <= wanted
            assert set(PLACEHOLDER.findall(every_form(message.string)[-1])) == wanted


def test_a_sentence_in_a_block_of_a_template_is_found() -> None:
    assert any("%(symbol)s" in str(message.id) for message in sentences())
