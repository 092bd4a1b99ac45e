"""The checkout page as a resident reads it, drawn from payments on real nodes."""

import re
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from django.conf import settings as django_settings
from django.contrib.staticfiles import finders
from django.core.exceptions import PermissionDenied
from django.db import connection
from django.db.models import F
from django.test import Client, RequestFactory
from django.test.utils import CaptureQueriesContext
from django.utils.translation import override as speaking
from django.views import defaults
from pytest_django import DjangoAssertNumQueries
from pytest_django.fixtures import Settings

from alatau_pay.devnet.nodes import Devnet
from alatau_pay.devnet.wallet_service import serve_wallet
from chains.networks import registry
from chains.transfers import TransferState, transfers_of
from merchants.checkout_state import checkout_of
from merchants.expiring import expire_invoices
from merchants.formatting import clock, day_and_clock
from merchants.invoices import choose_option, issue_invoice, uri_of
from merchants.models import Invoice, PaymentOption, Shop
from merchants.pages.devnet_wallet import has_test_wallet, pay_from_test_wallet
from settlement.formats import price
from settlement.rates.quoting import quotes_of
from tests.conftest import Listing
from tests.merchants.planted import Story, plant
from tests.merchants.test_invoices import asset, issued, mine, work

pytestmark = pytest.mark.django_db
KIB_30 = 30 * 1024


def page_of(invoice: Invoice, option: PaymentOption | None = None, *, language: str = "en") -> str:
    query = f"?asset={option.asset}" if option else ""
    answer = Client().get(f"/i/{invoice.token}{query}", headers={"accept-language": language})
    assert answer.status_code == 200
    return answer.content.decode()


def status_of(invoice: Invoice) -> dict[str, object]:
    return dict(Client().get(f"/i/{invoice.token}/status").json())


def pay(networks: Devnet, option: PaymentOption, *, percent: int = 100) -> str:
    quantity = int(option.quantity) * percent // 100
    return networks.resident.pay(uri_of(option, quantity=quantity))


def end_time(invoice: Invoice) -> None:
    Invoice.objects.filter(pk=invoice.pk).update(expires_at=F("created_at") - timedelta(seconds=1))


def text_of(page: str) -> str:
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", page))


def test_a_token_offers_its_address_and_a_coin_its_wallet_link(
    networks: Devnet, shop: Shop
) -> None:
    invoice, usdt = issued(shop, "USDT")
    page = page_of(invoice, usdt)
    assert "ethereum:" not in page
    assert re.search(r'class="primary" data-copy="address"', page)
    assert "The QR holds the address only. Enter the amount yourself." in page

    bitcoin = choose_option(invoice=invoice, asset=asset("BTC"))
    page = page_of(invoice, bitcoin)
    assert f'<a class="primary" href="bitcoin:{bitcoin.address}?amount=0.00010000">' in page
    assert "The QR holds the address only" not in page


@pytest.mark.case("R122")
@pytest.mark.parametrize("amount_tiyn", [100, 99_999, 100_001, 99_999_999_999])
def test_no_amount_is_finer_than_eight_digits(
    amount_tiyn: int, networks: Devnet, shop: Shop
) -> None:
    invoice, ether = issued(shop, "ETH", amount_tiyn=amount_tiyn)
    page = page_of(invoice, ether)
    amounts = re.findall(r'(?:id="amount"|class="amount")>([0-9.]+)<', page)
    assert len(amounts) == 4
    assert all(len(amount.partition(".")[2]) <= 8 for amount in amounts)
    (asked,) = re.findall(r"value=([0-9]+)", page.partition("ethereum:")[2].partition('"')[0])
    assert int(asked) % 10**10 == 0


@pytest.mark.case("R122")
def test_ether_paid_as_asked_settles_and_is_not_too_much(networks: Devnet, shop: Shop) -> None:
    invoice, ether = issued(shop, "ETH", amount_tiyn=100_001)
    pay(networks, ether)
    mine(networks, 3)
    work()
    page = page_of(invoice)
    assert "Paid" in page
    assert "More arrived than was needed" not in page


@pytest.mark.case("R27")
def test_a_part_says_in_tenge_what_came_and_what_is_left(networks: Devnet, shop: Shop) -> None:
    invoice, bitcoin = issued(shop, "BTC")
    before = status_of(invoice)["version"]
    pay(networks, bitcoin, percent=40)
    work()
    page = page_of(invoice, bitcoin)
    assert "<h1>2,700\N{NO-BREAK SPACE}₸</h1>" in page
    said = text_of(page).replace("\N{NO-BREAK SPACE}", " ")
    assert "left of 4,500 ₸" in said
    assert "1,800 ₸ received. 2,700 ₸ left to pay." in said
    assert "0.00006 BTC" in said
    assert status_of(invoice)["version"] != before
    russian = text_of(page_of(invoice, bitcoin, language="ru")).replace("\N{NO-BREAK SPACE}", " ")
    assert "Получено 1 800 ₸. Осталось 2 700 ₸." in russian


@pytest.mark.case("R23")
@pytest.mark.case("R27")
def test_too_much_is_said_when_seen_and_when_paid(networks: Devnet, shop: Shop) -> None:
    invoice, bitcoin = issued(shop, "BTC")
    pay(networks, bitcoin, percent=150)
    work()
    assert "More arrived than was needed" in page_of(invoice)
    mine(networks, 3)
    work()
    assert "Пришло больше, чем нужно" in page_of(invoice, language="ru")


@pytest.mark.case("R23")
def test_a_second_payment_after_settlement_is_too_much(networks: Devnet, shop: Shop) -> None:
    invoice, bitcoin = issued(shop, "BTC")
    pay(networks, bitcoin)
    mine(networks, 2)
    work()
    assert "More arrived than was needed" not in page_of(invoice)
    pay(networks, bitcoin)
    work()
    assert "More arrived than was needed" in page_of(invoice)


@pytest.mark.parametrize("order_id", ["", "№ 2026-001842"])
def test_every_page_names_the_invoice(order_id: str, networks: Devnet, shop: Shop) -> None:
    invoice, bitcoin = issued(shop, "BTC")
    Invoice.objects.update(order_id=order_id)
    reference = f"Reference: <b>{order_id or invoice.token[:8]}</b>"
    assert page_of(invoice).count(reference) == 1
    pay(networks, bitcoin)
    work()
    assert page_of(invoice).count(reference) == 1
    mine(networks, 3)
    work()
    assert page_of(invoice).count(reference) == 1
    Invoice.objects.update(status="expired")
    assert page_of(invoice).count(reference) == 1
    Invoice.objects.update(status="reversed")
    assert page_of(invoice).count(reference) == 1


@pytest.mark.case("R24")
def test_an_expired_page_shows_what_came_and_turns_green_when_it_settles(
    networks: Devnet, shop: Shop
) -> None:
    invoice, bitcoin = issued(shop, "BTC")
    pay(networks, bitcoin, percent=40)
    work()
    Invoice.objects.update(expires_at=datetime.now(UTC) - timedelta(seconds=1))
    assert expire_invoices() == 1
    page = page_of(invoice, bitcoin, language="ru")
    assert "Мы видим ваш платёж:" in page
    said = text_of(page).replace("\N{NO-BREAK SPACE}", " ")
    assert "Получено 1 800 ₸ из 4 500 ₸." in said
    assert "осталось из" not in said
    assert "0.00004 BTC" in page
    assert bitcoin.address not in page
    assert 'data-live="/live/invoices/' in page
    assert "http-equiv" in page
    before = status_of(invoice)

    Invoice.objects.update(expires_at=datetime.now(UTC) + timedelta(minutes=5))
    pay(networks, bitcoin, percent=60)
    mine(networks, 3)
    work()
    after = status_of(invoice)
    assert (before["stage"], after["stage"]) == ("expired", "paid")
    assert before["version"] != after["version"]
    assert "http-equiv" not in page_of(invoice)


def test_a_detected_payment_counts_its_confirmations(networks: Devnet, shop: Shop) -> None:
    invoice, bitcoin = issued(shop, "BTC")
    txid = pay(networks, bitcoin)
    work()
    page = page_of(invoice)
    assert f'<span class="txid">{txid}</span>' in page
    assert "<b>0.0001 BTC</b>" in page
    assert "<b>0</b> of 2 confirmations" in page
    before = status_of(invoice)
    mine(networks, 1)
    work()
    assert "<b>1</b> of 2 confirmations" in page_of(invoice)
    # An open page writes the new count itself: it is not drawn anew.
    after = status_of(invoice)
    assert after["version"] == before["version"]
    assert [one["confirmations"] for one in after["payments"]] == [1]  # type: ignore[attr-defined]


def test_where_the_networks_tag_decides_the_page_says_so(networks: Devnet, shop: Shop) -> None:
    invoice, usdt = issued(shop, "USDT")
    txid = pay(networks, usdt)
    work()
    page = page_of(invoice)
    assert "Waiting until the network makes it final." in page
    assert f'<span class="txid">0x{txid}</span>' in page
    assert "9.473685 USDT" in page


def test_a_paid_page_is_a_receipt_of_the_payment(networks: Devnet, shop: Shop) -> None:
    invoice, bitcoin = issued(shop, "BTC")
    txid = pay(networks, bitcoin)
    mine(networks, 2)
    work()
    invoice.refresh_from_db()
    assert invoice.settled_at is not None
    panel = page_of(invoice).partition('class="outcome paid"')[2].partition("</section>")[0]
    for said in (day_and_clock(invoice.settled_at), "0.0001 BTC", txid, invoice.token[:8]):
        assert said in panel


def test_the_title_says_the_status_first(networks: Devnet, shop: Shop) -> None:
    invoice, bitcoin = issued(shop, "BTC")
    assert "<title>Waiting for your payment · 4,500" in page_of(invoice)
    pay(networks, bitcoin)
    work()
    page = page_of(invoice)
    assert "<title>Payment detected · 4,500" in page
    assert '<h2 id="outcome" tabindex="-1">Payment detected</h2>' in page


@pytest.mark.case("R25")
def test_a_page_whose_time_is_over_is_closed_before_the_task_has_run(
    networks: Devnet, shop: Shop, settings: Settings
) -> None:
    settings.DEVNET_WALLET_URL = "http://127.0.0.1:9/nobody"
    invoice, bitcoin = issued(shop, "BTC")
    end_time(invoice)
    page = page_of(invoice, bitcoin)
    assert "Checking…" in page
    assert bitcoin.address not in page
    assert 'class="coins"' not in page
    assert status_of(invoice)["stage"] == "checking"
    Client().post(f"/i/{invoice.token}/choose", {"asset": asset("USDT")})
    assert PaymentOption.objects.get(invoice=invoice, asset=asset("USDT")).address == ""
    client = Client()
    paid = client.post(f"/i/{invoice.token}/test-pay", {"asset": bitcoin.asset}, follow=True)
    assert "could not pay" not in paid.content.decode()


def test_without_script_the_page_says_until_when(networks: Devnet, shop: Shop) -> None:
    invoice, bitcoin = issued(shop, "BTC")
    until = clock(invoice.expires_at, now=invoice.created_at)
    for page in (page_of(invoice), page_of(invoice, bitcoin)):
        assert re.search(
            rf'<time id="countdown" role="timer" aria-live="off"[^>]*>until {until}<', page
        )
        buttons = re.findall(r"<button[^>]*data-copy[^>]*>", page)
        assert all(button.endswith(" hidden>") for button in buttons)


def test_a_clock_is_the_citys_and_names_another_day() -> None:
    evening = datetime(2026, 11, 24, 18, 30, tzinfo=UTC)
    assert clock(evening, now=evening - timedelta(hours=1)) == "23:30"
    assert clock(evening, now=evening + timedelta(hours=1)) == "24.11.2026, 23:30"


def test_the_rate_stands_on_the_page(networks: Devnet, shop: Shop) -> None:
    invoice, bitcoin = issued(shop, "BTC")
    shown = (
        "1\N{NO-BREAK SPACE}BTC = 45\N{NO-BREAK SPACE}000\N{NO-BREAK SPACE}000\N{NO-BREAK SPACE}₸"
    )
    assert shown in page_of(invoice, bitcoin, language="kk")
    quote = quotes_of([bitcoin.quote_id])[bitcoin.quote_id]
    assert price(quote.price_tiyn, "BTC", "kk") == shown


def test_the_qr_and_the_two_copy_buttons_have_names_of_their_own(
    networks: Devnet, shop: Shop
) -> None:
    invoice, bitcoin = issued(shop, "BTC")
    usdt = choose_option(invoice=invoice, asset=asset("USDT"))
    page = page_of(invoice, bitcoin)
    assert '<svg role="img" aria-label="QR code with the address and the amount"' in page
    labels = re.findall(r'<button[^>]*data-copy[^>]*aria-label="([^"]+)"', page)
    assert labels == ["Copy the amount", "Copy the address"]
    assert '<svg role="img" aria-label="QR code with the address"' in page_of(invoice, usdt)
    assert "<output" not in page
    assert page.count('aria-live="polite"') == 1


@pytest.mark.parametrize("gone", ["USDT", "network"])
def test_an_asset_that_left_the_registry_breaks_no_page(
    gone: str, networks: Devnet, shop: Shop, settings: Settings, listing: Listing
) -> None:
    invoice, usdt = issued(shop, "USDT")
    txid = pay(networks, usdt, percent=40)
    work()
    listing.without(usdt.network if gone == "network" else usdt.asset)
    assert usdt.asset not in registry().assets

    page = page_of(invoice, usdt)
    assert "3.789474 USDT" in page
    assert txid in page
    assert usdt.address not in page
    assert [one["symbol"] for one in status_of(invoice)["payments"]] == ["USDT"]  # type: ignore[attr-defined]
    answer = Client().post(f"/i/{invoice.token}/choose", {"asset": usdt.asset})
    assert answer.status_code == 302
    settings.DEVNET_WALLET_URL = "http://127.0.0.1:9/nobody"
    answer = Client().post(f"/i/{invoice.token}/test-pay", {"asset": usdt.asset})
    assert answer.status_code == 302


@pytest.mark.case("R88")
def test_choosing_works_without_cookies_and_paying_for_the_resident_does_not(
    networks: Devnet, shop: Shop, settings: Settings
) -> None:
    settings.DEVNET_WALLET_URL = "http://127.0.0.1:9/nobody"
    work()
    invoice = issue_invoice(shop_id=shop.id, amount_tiyn=450_000)
    strict = Client(enforce_csrf_checks=True)
    chosen = strict.post(f"/i/{invoice.token}/choose", {"asset": asset("BTC")})
    option = PaymentOption.objects.get(invoice=invoice, asset=asset("BTC"))
    assert option.address
    strict.cookies.clear()
    assert option.address in strict.get(chosen["location"]).content.decode()

    strict.cookies.clear()
    language = {"accept-language": "ru"}
    url = f"/i/{invoice.token}/test-pay"
    refused = strict.post(url, {"asset": asset("BTC")}, headers=language)
    assert refused.status_code == 403
    assert "Браузер не прислал cookie" in refused.content.decode()


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("http://127.0.0.1:8901/x", True),
        ("https://127.0.0.1:8901/x", False),
        ("http://127.0.0.1:80@pay.example/x", False),
        ("http://127.0.0.1.pay.example:80/x", False),
        ("http://user@127.0.0.1:80/x", False),
        ("http://pay.example/127.0.0.1", False),
        ("", False),
    ],
)
def test_the_test_wallet_is_on_loopback_alone(url: str, expected: bool, settings: Settings) -> None:
    settings.DEVNET_WALLET_URL = url
    assert has_test_wallet() is expected
    settings.DEVNET = False
    assert has_test_wallet() is False


@pytest.fixture
def wallet(networks: Devnet, settings: Settings) -> Iterator[None]:
    """The resident's wallet, serving as in the demo."""
    with serve_wallet(networks.resident) as url:
        settings.DEVNET_WALLET_URL = url
        yield


def test_a_double_click_pays_once(networks: Devnet, shop: Shop, wallet: None) -> None:
    invoice, bitcoin = issued(shop, "BTC")
    url = f"/i/{invoice.token}/test-pay"
    # Two clicks before the scanner has seen the first.
    for _ in range(2):
        assert Client().post(url, {"asset": bitcoin.asset}).status_code == 302
    work()
    # And one from a tab that was opened before.
    assert Client().post(url, {"asset": bitcoin.asset}).status_code == 302
    mine(networks, 2)
    work()
    (fact,) = transfers_of(references=[str(invoice.pk)])
    assert fact.value == bitcoin.quantity


def test_the_wallet_asked_eight_times_at_once_pays_once(
    networks: Devnet, shop: Shop, wallet: None
) -> None:
    invoice, usdt = issued(shop, "USDT")
    uri = uri_of(usdt, quantity=int(usdt.quantity))
    barrier = threading.Barrier(8)

    def ask() -> None:
        barrier.wait()
        pay_from_test_wallet(uri=uri)

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    mine(networks, 3)
    work()
    page = page_of(invoice)
    assert "Paid" in page
    assert page.count('class="txid"') == 1


def test_a_wallet_that_fails_is_said_and_breaks_nothing(
    networks: Devnet, shop: Shop, settings: Settings
) -> None:
    invoice, usdt = issued(shop, "USDT", amount_tiyn=10**14)
    client, url = Client(), f"/i/{invoice.token}/test-pay"
    english = {"accept-language": "en"}
    with serve_wallet(networks.resident) as wallet_url:
        settings.DEVNET_WALLET_URL = wallet_url
        answer = client.post(url, {"asset": usdt.asset}, follow=True, headers=english)
        assert answer.status_code == 200
        assert 'role="alert">The test wallet could not pay.' in answer.content.decode()
    # And now nobody answers at all.
    answer = client.post(url, {"asset": usdt.asset}, follow=True, headers=english)
    assert 'role="alert">The test wallet could not pay.' in answer.content.decode()
    assert "could not pay" not in client.get(answer.request["PATH_INFO"]).content.decode()


SAID = {
    400: {
        "kk": "Сұрау түсініксіз",
        "ru": "Запрос не удалось понять",
        "en": "could not be understood",
    },
    403: {"kk": "Бұған рұқсат жоқ", "ru": "Сюда нельзя", "en": "This is not allowed here"},
    404: {"kk": "Мұндай бет жоқ", "ru": "Такой страницы нет", "en": "There is no such page"},
    500: {"kk": "Біздің жақта ақау", "ru": "У нас что-то сломалось", "en": "Something broke"},
}


@pytest.mark.parametrize("language", ["kk", "ru", "en"])
def test_errors_speak_the_residents_language_in_the_pages_own_dress(
    language: str, networks: Devnet, shop: Shop, settings: Settings
) -> None:
    invoice, _bitcoin = issued(shop, "BTC")
    client = Client(raise_request_exception=False, headers={"accept-language": language})
    request = RequestFactory().get("/")
    with speaking(language):
        answers = {
            400: defaults.bad_request(request, ValueError()),
            403: defaults.permission_denied(request, PermissionDenied()),
        }
    answers[404] = client.get("/i/unknown")
    settings.NETWORKS_FILE = "/nowhere"
    answers[500] = client.get(f"/i/{invoice.token}")
    for code, answer in answers.items():
        page = answer.content.decode()
        assert answer.status_code == code
        assert SAID[code][language] in page
        assert f'<html lang="{language}">' in page
        assert "checkout/checkout.css" in page


def test_a_strange_host_is_told_so_by_our_own_page() -> None:
    answer = Client().get("/i/unknown", headers={"host": "evil.example"})
    assert answer.status_code == 400
    assert "checkout/checkout.css" in answer.content.decode()


def test_a_page_may_be_asked_for_by_head_and_has_an_icon(networks: Devnet, shop: Shop) -> None:
    invoice, _bitcoin = issued(shop, "BTC")
    client = Client()
    assert client.head(f"/i/{invoice.token}").status_code == 200
    assert client.head(f"/i/{invoice.token}/status").status_code == 200
    assert client.post(f"/i/{invoice.token}").status_code == 405
    icon = client.get("/favicon.ico")
    assert icon.status_code == 302
    assert finders.find(icon["location"].removeprefix("/static/"))


def test_a_chosen_language_is_kept_for_a_year() -> None:
    client = Client()
    client.post("/i18n/setlang/", {"language": "ru", "next": "/i/unknown"})
    assert client.cookies["django_language"]["max-age"] == 365 * 24 * 3600
    assert "Такой страницы нет" in client.get("/i/unknown").content.decode()


def test_languages_are_named_by_themselves(networks: Devnet, shop: Shop) -> None:
    invoice, _bitcoin = issued(shop, "BTC")
    page = page_of(invoice, language="ru")
    found = re.findall(r'lang="(\w\w)" aria-label="(\w+, \w+)"([^>]*)>(\w+)</button>', page)
    assert [one[:2] + one[3:] for one in found] == [
        ("kk", "Қаз, Қазақша", "Қаз"),
        ("ru", "Рус, Русский", "Рус"),
        ("en", "Eng, English", "Eng"),
    ]
    assert [bool(one[2]) for one in found] == [False, True, False]


def test_a_devnet_is_marked_and_nothing_else_is(
    networks: Devnet, shop: Shop, settings: Settings
) -> None:
    invoice, _bitcoin = issued(shop, "BTC")
    assert "СЫНАҚ · ТЕСТ · TEST" in page_of(invoice)
    settings.DEVNET = False
    assert "СЫНАҚ · ТЕСТ · TEST" not in page_of(invoice)


@pytest.mark.case("R89")
@pytest.mark.parametrize(("symbol", "files"), [("BTC", 3), ("USDT", 4)])
def test_a_page_is_light_has_no_inline_code_and_costs_few_queries(
    symbol: str,
    files: int,
    networks: Devnet,
    shop: Shop,
    django_assert_max_num_queries: DjangoAssertNumQueries,
) -> None:
    invoice, option = issued(shop, symbol)
    for percent in (20, 20, 20):
        pay(networks, option, percent=percent)
    work()
    with django_assert_max_num_queries(10):
        page = page_of(invoice, option)
    assert "<style" not in page
    assert not re.search(r'\sstyle="|\son\w+="|javascript:', page)
    assert set(re.findall(r"<script[^>]*>([^<]*)</script>", page)) == {""}
    linked = re.findall(r'(?:href|src)="/static/([^"]+)"', page)
    assert len(linked) == files
    sizes = [Path(str(finders.find(name))).stat().st_size for name in linked]
    assert len(page.encode()) + sum(sizes) < KIB_30
    assert django_settings.CONTENT_SECURITY_POLICY["DIRECTIVES"]["default-src"] == ["'none'"]


@pytest.mark.case("R26")
def test_a_flood_of_dust_is_summed_where_it_is_stored(networks: Devnet, shop: Shop) -> None:
    story = Story(shop)
    option = story.option("USDT")
    few, many = 30, 1_000
    plant(option, TransferState.SEEN, value=1, seen_at=story.after(-1), times=few)
    with CaptureQueriesContext(connection) as first:
        checkout_of(Invoice.objects.get(pk=story.invoice.pk))
    plant(option, TransferState.SEEN, value=1, seen_at=story.after(-1), times=many)
    with CaptureQueriesContext(connection) as later:
        seen = checkout_of(Invoice.objects.get(pk=story.invoice.pk))
    assert (len(seen.payments), seen.is_overpaid) == (10, False)
    assert len(later) == len(first)
    asked = [one["sql"] for one in later if "chains_transfer" in one["sql"]]
    assert len(asked) == 2
    assert all("GROUP BY" in query or "LIMIT 10" in query for query in asked)
    plant(option, TransferState.SEEN, value=int(option.quantity) * 2, seen_at=story.after(-1))
    story.apply()
    assert checkout_of(Invoice.objects.get(pk=story.invoice.pk)).is_overpaid


@pytest.mark.case("R26")
def test_a_spammed_page_lists_only_the_newest_payments(networks: Devnet, shop: Shop) -> None:
    invoice, bitcoin = issued(shop, "BTC")
    outputs = {bitcoin.address: "0.00001"}
    for _ in range(12):
        networks.bitcoin.call("sendmany", "", outputs, wallet="resident")
    work()
    assert page_of(invoice).count('class="txid"') == 10
    assert len(status_of(invoice)["payments"]) == 10  # type: ignore[arg-type]
