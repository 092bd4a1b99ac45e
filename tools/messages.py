"""The sentences that people read, gathered from code and templates into the three catalogues.

``python -m tools.messages`` updates ``locale/``; a test checks that nothing in them is missing,
fuzzy or no longer said. Works without gettext: Django turns a template into Python for it, and
Babel reads that.
"""

import io
from pathlib import Path
from typing import Final

from babel.messages.catalog import Catalog
from babel.messages.extract import extract
from babel.messages.pofile import read_po, write_po
from django.utils.translation.template import templatize

ROOT: Final = Path(__file__).resolve().parents[1]
LANGUAGES: Final = ("kk", "ru", "en")
PACKAGES: Final = ("alatau_pay", "chains", "merchants", "settlement")
KEYWORDS: Final = {
    "_": None,
    "gettext": None,
    "gettext_lazy": None,
    "ngettext": (1, 2),
    "ngettext_lazy": (1, 2),
    "pgettext": ((1, "c"), 2),
    "pgettext_lazy": ((1, "c"), 2),
}
HEADER: Final = """msgid ""
msgstr ""
"Language: {language}\\n"
"Plural-Forms: {plural_forms}\\n"
"MIME-Version: 1.0\\n"
"Content-Type: text/plain; charset=UTF-8\\n"
"Content-Transfer-Encoding: 8bit\\n"

"""
"""No dates and no authors: a catalogue changes only when its sentences do."""


def catalogue_path(language: str) -> Path:
    """The catalogue of one language."""
    return ROOT / "locale" / language / "LC_MESSAGES/django.po"


def sentences() -> Catalog:
    """Every sentence that code and templates mark for translation."""
    found = Catalog(project="alatau-pay", charset="utf-8")
    sources = [path for name in PACKAGES for path in (ROOT / name).rglob("*.py")]
    for path in sorted([*sources, *(ROOT / "templates").rglob("*.*")]):
        text = path.read_text()
        code = text if path.suffix == ".py" else templatize(text, origin=str(path))
        for _line, said, _notes, context in extract("python", io.BytesIO(code.encode()), KEYWORDS):
            found.add(said, context=context)
    return found


def read_catalogue(language: str) -> Catalog:
    """One language's catalogue as it stands."""
    with catalogue_path(language).open("rb") as file:
        return read_po(file, locale=language)


def main() -> None:
    """Bring every catalogue in line with what is said now; keep the translations."""
    said = sentences()
    for language in LANGUAGES:
        catalogue = read_catalogue(language)
        catalogue.update(said, no_fuzzy_matching=True)
        catalogue.obsolete.clear()
        if language == "en":
            for message in catalogue:
                message.string = message.string or message.id
        body = io.BytesIO()
        write_po(body, catalogue, width=0, no_location=True, omit_header=True)
        header = HEADER.format(language=language, plural_forms=catalogue.plural_forms)
        catalogue_path(language).write_text(header + body.getvalue().decode().strip() + "\n")


if __name__ == "__main__":
    main()
