"""Two tools of other houses read our ledger, and come to the same balances."""

import re
import subprocess
import sys
from io import StringIO
from pathlib import Path

import pytest
from django.core.management import call_command
from django.db import transaction

from settlement.accounts import MERCHANT_PAYABLE, UNIDENTIFIED
from settlement.ledger import Entry, Line, post_entries
from settlement.plain_text import PlainText, write_ledger
from tests.settlement.demand import NOW, Demand
from tests.settlement.test_examples import EXAMPLES, PRICES

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("app_role")]


def checked(language: PlainText, text: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """What the language's own tool says of a file."""
    path = folder / f"ledger.{language}"
    path.write_text(text)
    words = {
        PlainText.BEANCOUNT: [sys.executable, "-m", "beancount.scripts.check", "--no-cache"],
        PlainText.HLEDGER: ["hledger", "check", "--strict", "-f"],
    }[language]
    return subprocess.run([*words, str(path)], capture_output=True, text=True, check=False)


def exported(language: PlainText) -> str:
    out = StringIO()
    call_command("export_ledger", format=language, stdout=out)
    return out.getvalue()


@pytest.mark.parametrize("heading", EXAMPLES)
def test_every_example_is_accepted(heading: str, tmp_path: Path) -> None:
    EXAMPLES[heading](Demand(rates=PRICES, beneficiary="5f0c8a52-0d44-4f3a-b6a2-7e6f5f6f9b51"))
    for language in PlainText:
        said = checked(language, exported(language), tmp_path)
        assert said.returncode == 0, said.stdout + said.stderr


@pytest.mark.parametrize("language", PlainText)
def test_a_figure_that_was_changed_is_refused(language: PlainText, tmp_path: Path) -> None:
    EXAMPLES["Paid exactly"](Demand(rates=PRICES))
    text = exported(language)
    first, *_, last = re.finditer(r"4500\.00", text)
    for place in (first, last):
        changed = text[: place.start()] + "4500.01" + text[place.end() :]
        assert checked(language, changed, tmp_path).returncode != 0


@pytest.mark.parametrize(
    ("language", "quantity"),
    [(PlainText.BEANCOUNT, 10**28 - 1), (PlainText.HLEDGER, 2**256 - 1)],
)
def test_strange_words_and_huge_quantities_are_written_so_that_they_are_read(
    language: PlainText, quantity: int, tmp_path: Path
) -> None:
    entry = Entry(
        kind="odd",
        source='a "source" \\ ; with | marks',
        subject="odd",
        memo="two\nlines, a (bracket and 4500.00 KZT",
        lines=[
            Line(
                account=account,
                beneficiary=' дүкен: "№1"  ; x',
                amount_tiyn=sign * (2**62),
                asset="eip155:1/erc20:0x0",
                quantity=sign * quantity,
            )
            for account, sign in ((MERCHANT_PAYABLE, -1), (UNIDENTIFIED, 1))
        ],
        effective_at=NOW,
    )
    with transaction.atomic():
        post_entries([entry])
    said = checked(language, exported(language), tmp_path)
    assert said.returncode == 0, said.stdout + said.stderr


def test_an_empty_ledger_is_an_empty_file() -> None:
    assert [*write_ledger(PlainText.HLEDGER), *write_ledger(PlainText.BEANCOUNT)] == []
