"""An operator pays the shops with one command, and each shop is told what became of it."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import IntegrityError, transaction
from pytest_django.fixtures import Settings

from alatau_pay.celery import app
from alatau_pay.pipeline import prepare_payouts
from merchants.models import Merchant, OutboxEvent, Shop
from merchants.payouts import payout_terms
from settlement.calendar import Every, city_calendar
from settlement.clock import today
from settlement.models import Payout, PayoutBatch
from settlement.payout_states import PayoutState, batch_facts
from tests.settlement.bank_files.samples import OPERATOR
from tests.settlement.paying import (
    FORMS,
    as_camt053,
    in_transit,
    owe,
    owed,
    told_of,
    value_day,
)

Say = Callable[..., Any]
"""Run the command; return what it printed, read if it is JSON."""
pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("app_role")]


@pytest.fixture(autouse=True)
def operator(settings: Settings) -> None:
    settings.PAYER_NAME, settings.PAYER_BIN = OPERATOR.name, OPERATOR.bin_or_iin
    settings.PAYER_IBAN, settings.PAYER_KBE = OPERATOR.iban, OPERATOR.kbe


@pytest.fixture
def said(capsys: pytest.CaptureFixture[str]) -> Say:
    def run(*words: str) -> Any:  # noqa: ANN401
        capsys.readouterr()
        call_command("payouts", *words)
        out = capsys.readouterr().out
        return json.loads(out) if "--json" in words else out

    return run


def exported(said: Say, folder: Path) -> int:
    [prepared] = said("prepare", "--by", "Dana", "--on", str(value_day()), "--json")
    batch = str(prepared["batch"])
    said("approve", batch, "--by", "Erlan")
    said("export", batch, "--by", "Dana", "--to", str(folder))
    return int(batch)


@pytest.mark.case("R125")
@pytest.mark.parametrize("form", FORMS)
def test_an_operator_pays_a_shop_by_hand(form: str, shop: Shop, said: Say, tmp_path: Path) -> None:
    name = str(shop.pk)
    owe(name, 450_000)
    batch = exported(said, tmp_path)
    [file] = tmp_path.iterdir()
    first = file.read_bytes()
    again = said("export", str(batch), "--by", "Erlan", "--to", str(tmp_path), "--json")
    assert (again["file"], file.read_bytes()) == (str(file), first)
    shown = said("show", "--json")
    assert [one["amount_tiyn"] for one in shown["unknown"]] == [450_000]
    payout = Payout.objects.get()
    statement = tmp_path / "statement"
    statement.write_bytes(FORMS[form](told_of(payout), told_of(payout, back=True), day=today()))
    imported = said("import", str(statement), "--by", "Dana", "--json")
    assert [one["state"] for one in imported["outcomes"]] == ["paid", "returned"]
    assert (owed(name), in_transit(name)) == (450_000, 0)
    told = OutboxEvent.objects.filter(shop=shop).order_by("created_at")
    assert [(one.type, one.payload["amount_tiyn"]) for one in told] == [
        ("payout.paid", 450_000),
        ("payout.returned", 450_000),
    ]
    said("import", str(statement), "--by", "Dana")
    assert told.count() == 2
    assert "returned" in said("show", str(batch))


def test_what_a_person_reads_names_batches_shops_and_lines(
    shop: Shop, said: Say, tmp_path: Path
) -> None:
    owe(str(shop.pk), 450_000)
    assert "No batch yet." in said("show")
    prepared = said("prepare", "--by", "Dana", "--on", str(value_day()))
    assert "4,500.00" in prepared
    assert shop.merchant.iban in prepared
    assert "in a batch of the day already" in said(
        "prepare", "--by", "Dana", "--on", str(value_day())
    )
    [batch] = batch_facts()
    assert "approved" in said("approve", str(batch.number), "--by", "Erlan")
    assert "SHA-256" in said("export", str(batch.number), "--by", "D", "--to", str(tmp_path))
    statement = tmp_path / "statement"
    line = told_of(Payout.objects.get(), iban="KZ758560000000000001")
    statement.write_bytes(as_camt053(line, day=today()))
    assert "1 lines booked nothing" in said("import", str(statement), "--by", "Dana")
    assert "goes to another account" in said("show")


def test_a_batch_is_cancelled_and_a_shop_is_held_and_released(shop: Shop, said: Say) -> None:
    name = str(shop.pk)
    owe(name, 450_000)
    [prepared] = said("prepare", "--by", "Dana", "--on", str(value_day()), "--json")
    cancelled = said("cancel", str(prepared["batch"]), "--by", "D", "--reason", "x", "--json")
    assert cancelled["state"] == "cancelled"
    assert "is held" in said("hold", name, "--by", "Dana", "--reason", "complaint")
    assert "held (complaint)" in said("prepare", "--by", "Dana", "--on", str(value_day()))
    assert owed(name) == 450_000
    said("hold", name, "--by", "Dana", "--reason", "settled", "--release")
    said("prepare", "--by", "Dana", "--on", str(value_day()))
    assert in_transit(name) == 450_000


def test_a_refusal_says_what_to_do(shop: Shop, said: Say, tmp_path: Path) -> None:
    owe(str(shop.pk), 450_000)
    [prepared] = said("prepare", "--by", "Dana", "--on", str(value_day()), "--json")
    batch = str(prepared["batch"])
    bad = tmp_path / "bad"
    bad.write_bytes(b"nothing")
    for words, why in (
        (("approve", batch, "--by", "dana"), "second official"),
        (("export", batch, "--by", "Dana"), "cannot be exported"),
        (("show", "0"), "no batch 0"),
        (("hold", "nobody", "--by", "D", "--reason", "x"), "no shop nobody"),
        (("import", str(bad), "--by", "D"), "MT940"),
        (("import", str(tmp_path / "none"), "--by", "D"), "No such file"),
        (("unpaid", "1", "--by", "D", "--second", "E", "--reason", "x"), "no payout 1"),
        (("prepare", "--by", "D", "--on", "2020-01-01"), "neither today"),
    ):
        with pytest.raises(CommandError, match=why):
            said(*words)


def test_a_file_of_that_name_with_other_content_is_left(
    shop: Shop, said: Say, tmp_path: Path
) -> None:
    owe(str(shop.pk), 450_000)
    batch = exported(said, tmp_path)
    [file] = tmp_path.iterdir()
    file.write_bytes(b"mine")
    with pytest.raises(CommandError, match="move it away"):
        said("export", str(batch), "--by", "Dana", "--to", str(tmp_path))
    assert file.read_bytes() == b"mine"


@pytest.mark.parametrize(
    ("name", "value"),
    [("PAYER_NAME", " "), ("PAYER_BIN", "971240001316"), ("PAYER_IBAN", "KZ42722C000000000001")],
)
def test_a_wrong_payer_is_named(
    name: str, value: str, shop: Shop, said: Say, settings: Settings
) -> None:
    setattr(settings, name, value)
    with pytest.raises(CommandError, match=name):
        said("prepare", "--by", "Dana", "--on", str(value_day()))
    prepare_payouts()
    assert not PayoutBatch.objects.exists()


def test_only_approved_shops_are_paid_each_as_its_merchant_says(shop: Shop) -> None:
    merchant = Merchant.objects.create(
        legal_name="ЖК Әйгүл", bin_or_iin="791028302728", iban="KZ758560000000000001",
        kbe="19", knp="859", payout_every="week", payout_on=5, payout_minimum_tiyn=500_000,
    )  # fmt: skip
    weekly = Shop.objects.create(merchant=merchant, name="Көше", status=Shop.Status.APPROVED)
    for status in (Shop.Status.PENDING, Shop.Status.SUSPENDED):
        Shop.objects.create(merchant=merchant, name="Жоқ", status=status)
    terms = {one.beneficiary: one for one in payout_terms()}
    assert set(terms) == {str(shop.pk), str(weekly.pk)}
    one = terms[str(weekly.pk)]
    assert (one.payee.kbe, one.knp, one.minimum_tiyn) == ("19", "859", 500_000)
    assert (one.schedule.every, one.schedule.on) == (Every.WEEK, 5)
    assert terms[str(shop.pk)].schedule.every is Every.DAY
    assert set(Merchant.PayoutEvery.values) == {one.value for one in Every}


@pytest.mark.parametrize(("every", "on"), [("day", 1), ("week", 6), ("month", 0), ("year", 1)])
def test_a_schedule_that_cannot_be_is_refused_by_the_database(every: str, on: int) -> None:
    with pytest.raises(IntegrityError), transaction.atomic():
        Merchant.objects.create(payout_every=every, payout_on=on)


def test_beat_prepares_the_days_batch_once(shop: Shop, settings: Settings, tmp_path: Path) -> None:
    day = today()
    overrides = tmp_path / "calendar.json"
    settings.CALENDAR_FILE = str(overrides)

    def worked(is_worked: object) -> None:
        row = {"day": str(day), "is_business_day": is_worked, "source": "decree"}
        overrides.write_text(json.dumps([row]))

    owe(str(shop.pk), 450_000)
    worked(False)
    prepare_payouts()
    assert not PayoutBatch.objects.exists()
    worked(True)
    assert city_calendar().is_business_day(day)
    prepare_payouts()
    prepare_payouts()
    [batch] = batch_facts()
    assert (batch.value_on, batch.state, batch.total_tiyn) == (day, PayoutState.PREPARED, 450_000)
    # A batch that officials cancelled does not come back by itself.
    call_command("payouts", "cancel", str(batch.number), by="Erlan", reason="x")
    prepare_payouts()
    assert PayoutBatch.objects.count() == 1


def test_beat_asks_in_the_morning_of_almaty() -> None:
    asked = app.conf.beat_schedule["prepare payouts"]
    assert asked["task"] == prepare_payouts.name
    assert asked["schedule"].hour == {3}
