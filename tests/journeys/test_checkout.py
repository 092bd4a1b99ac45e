"""The checkout page in a resident's browser: what scripts add to the page."""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, Route, expect, sync_playwright

from alatau_pay.devnet.city import City
from tests.journeys.test_city import CHROMIUM, in_the_city, query

pytestmark = pytest.mark.xdist_group("city")

ISSUE = """
import json
import django; django.setup()
from datetime import timedelta
from alatau_pay.devnet.demo import approved_shop, asset_named
from merchants.invoices import choose_option, issue_invoice, uri_of
shop = approved_shop()
shop.name = wanted["shop"]
shop.save()
invoice = issue_invoice(
    shop_id=shop.id, amount_tiyn=wanted["amount_tiyn"], order_id=wanted["order_id"],
    expires_in=timedelta(seconds=wanted["seconds"]),
)
option = choose_option(invoice=invoice, asset=asset_named(wanted["coin"]))
quantity = int(option.quantity)
parts = [uri_of(option, quantity=part) for part in (quantity, quantity * 2 // 5, quantity * 3 // 5)]
print(json.dumps({"token": invoice.token, "asset": option.asset, "parts": parts}))
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Demand:
    """An invoice with a chosen coin: its page, and URIs for the whole, two and three fifths."""

    token: str
    url: str
    whole: str
    two_fifths: str
    three_fifths: str


def demand(
    city: City,
    coin: str = "BTC",
    *,
    amount_tiyn: int = 450_000,
    shop: str = "Дүкен",
    order_id: str = "",
    seconds: int = 900,
) -> Demand:
    wanted = {
        "coin": coin,
        "amount_tiyn": amount_tiyn,
        "shop": shop,
        "order_id": order_id,
        "seconds": seconds,
    }
    made: dict[str, Any] = json.loads(in_the_city(city, f"wanted = {wanted!r}{ISSUE}"))
    whole, two_fifths, three_fifths = made["parts"]
    return Demand(
        token=made["token"],
        url=f"{city.public_url}/i/{made['token']}?asset={made['asset']}",
        whole=whole,
        two_fifths=two_fifths,
        three_fifths=three_fifths,
    )


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Debian's Chromium, once for this module: Django's tests must not run beside it."""
    with sync_playwright() as playwright:
        yield playwright.chromium.launch(
            executable_path=CHROMIUM,
            args=["--no-sandbox", "--disable-background-networking"],
        )


@pytest.fixture
def context(browser: Browser) -> Iterator[BrowserContext]:
    """A resident with an English phone."""
    opened = browser.new_context(
        viewport={"width": 390, "height": 844},
        locale="en",
        permissions=["clipboard-read", "clipboard-write"],
    )
    yield opened
    opened.close()


@pytest.fixture
def page(context: BrowserContext) -> Iterator[Page]:
    """A page on which no script fails."""
    opened = context.new_page()
    failures: list[str] = []
    opened.on("pageerror", lambda error: failures.append(str(error)))
    yield opened
    assert failures == []


def refuse(route: Route) -> None:
    route.abort()


@pytest.mark.case("R14")
@pytest.mark.parametrize("lost", ["**/status", "**/live/**"])
def test_a_page_follows_its_payment_with_stream_or_polling_alone(
    city: City, page: Page, lost: str
) -> None:
    asked = demand(city)
    page.route(lost, refuse)
    page.goto(asked.url)
    # A double click pays once.
    page.get_by_role("button", name="Pay with the test wallet").dblclick()
    outcome = page.get_by_role("heading", name="Payment detected")
    expect(outcome).to_be_focused(timeout=20_000)
    expect(page).to_have_title(re.compile("^Payment detected · 4,500"))
    expect(page.locator(".txid")).to_have_count(1)

    city.devnet.bitcoin.mine(2)
    expect(page.get_by_role("heading", name="Paid")).to_be_focused(timeout=20_000)
    expect(page).to_have_title(re.compile("^Paid · 4,500"))
    expect(page.locator(".warning")).to_have_count(0)
    # Whoever loads the page anew is not moved about.
    page.reload()
    expect(page.get_by_role("heading", name="Paid")).not_to_be_focused()


def test_an_open_stream_needs_no_polling(city: City, page: Page) -> None:
    asked = demand(city)
    page.clock.install()
    polls: list[str] = []
    page.on("request", lambda one: polls.append(one.url) if one.url.endswith("/status") else None)
    with page.expect_response("**/live/**"):
        page.goto(asked.url)
    page.wait_for_timeout(500)
    page.clock.run_for(20_000)
    assert polls == []

    page.route("**/live/**", refuse)
    with page.expect_request("**/status"):
        page.reload()
        page.clock.run_for(6_000)


def test_confirmations_grow_on_the_open_page(city: City, page: Page) -> None:
    asked = demand(city)
    city.devnet.resident.pay(asked.whole)
    page.goto(asked.url)
    expect(page.get_by_role("heading", name="Payment detected")).to_be_visible(timeout=20_000)
    confirming = page.locator(".confirming")
    expect(confirming).to_have_text("0 of 2 confirmations")
    page.evaluate("window.isTheSamePage = true")
    city.devnet.bitcoin.mine(1)
    expect(confirming).to_have_text("1 of 2 confirmations", timeout=20_000)
    assert page.evaluate("window.isTheSamePage")


@pytest.mark.case("R24")
def test_an_expired_page_turns_green_when_it_settles_after_all(city: City, page: Page) -> None:
    asked = demand(city, seconds=8)
    city.devnet.resident.pay(asked.two_fifths)
    page.goto(asked.url)
    expect(page.get_by_role("heading", name="The time is over")).to_be_visible(timeout=40_000)
    expect(page.get_by_text("We see your payment:")).to_be_visible()
    expect(page.locator(".pay, .coins")).to_have_count(0)

    # As a scanner would find what was broadcast in time.
    later = "UPDATE merchants_invoice SET expires_at = now() + interval '1 hour' WHERE token = %s"
    query(city, f"{later} RETURNING id", asked.token)
    city.devnet.resident.pay(asked.three_fifths)
    city.devnet.bitcoin.mine(2)
    expect(page.get_by_role("heading", name="Paid")).to_be_visible(timeout=20_000)


def test_the_countdown_closes_the_page_and_follows_the_server(city: City, page: Page) -> None:
    asked = demand(city)
    page.clock.install()
    page.route("**/live/**", refuse)
    page.route("**/status", refuse)
    for url in (asked.url, asked.url.partition("?")[0]):
        page.goto(url)
        countdown = page.get_by_role("timer")
        expect(countdown).to_have_text(re.compile(r"^1[45]:\d\d$"))
        page.clock.run_for(901_000)
        expect(page.get_by_role("status")).to_have_text("Checking…")
        expect(countdown).to_be_hidden()
        for closed in page.locator("[data-until-closed]").all():
            expect(closed).to_be_hidden()

    # The device's clock ran ahead: the server knows better.
    page.unroute("**/status", refuse)
    with page.expect_response("**/status"):
        page.clock.run_for(6_000)
    page.clock.run_for(2_000)
    expect(page.get_by_role("status")).to_have_text("Waiting for your payment")
    expect(page.locator(".coins")).to_be_visible()


@pytest.mark.parametrize("clipboard", ["present", "absent", "refused"])
def test_amount_and_address_are_copied_on_every_browser(
    city: City, context: BrowserContext, page: Page, clipboard: str
) -> None:
    asked = demand(city, "USDT")
    given = {
        "present": "",
        "absent": "Object.defineProperty(navigator, 'clipboard', { value: undefined });",
        "refused": "navigator.clipboard.writeText = async () => { throw new Error('no'); };",
    }
    page.add_init_script(given[clipboard])
    page.goto(asked.url)
    reader = context.new_page()
    reader.goto(f"{city.public_url}/health")
    for name, text in (("Copy the address", "#address"), ("Copy the amount", "#amount")):
        button = page.get_by_role("button", name=name)
        page.bring_to_front()
        button.click()
        expect(button).to_have_text("Copied")
        expect(page.locator("[aria-live=polite]")).to_have_text("Copied")
        expect(page.locator("[aria-live=polite]")).to_have_text("")
        expect(button).not_to_have_text("Copied")
        reader.bring_to_front()
        copied = reader.evaluate("navigator.clipboard.readText()")
        assert copied == page.locator(text).text_content()


LONG_SHOP = (
    "«Алатау қаласының үлкен халықаралық сауда-ойын-сауық орталығы» тұрмыстық техника дүкені"
)


@pytest.mark.parametrize("width", [320, 390, 1280])
def test_nothing_overflows_and_every_target_is_big_enough(
    city: City, page: Page, width: int
) -> None:
    asked = demand(
        city, "ETH", amount_tiyn=99_999_999_999, shop=LONG_SHOP, order_id=f"ALATAU-{'0' * 80}1"
    )
    page.set_viewport_size({"width": width, "height": 844})
    for url in (asked.url, asked.url.partition("?")[0], f"{city.public_url}/i/unknown"):
        page.goto(url)
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        for target in page.locator("a, button").all():
            box = target.bounding_box()
            assert box is not None
            assert min(box["width"], box["height"]) >= 44
            assert box["x"] + box["width"] <= width
    page.goto(asked.url)
    lines = "e => e.getBoundingClientRect().height / parseFloat(getComputedStyle(e).lineHeight)"
    assert page.locator(".shop").evaluate(lines) < 2.1
