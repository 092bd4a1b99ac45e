"""The whole city in its real processes: a resident in a browser, and workers that are killed."""

import io
import json
import os
import re
import shutil
import socket
import subprocess
import sys
from pathlib import Path
from urllib.parse import urlsplit

import psycopg
import pytest
import zxingcpp
from PIL import Image
from playwright.sync_api import expect, sync_playwright

from alatau_pay.devnet.city import City
from alatau_pay.engines import REPOSITORY
from alatau_pay.workers import WORKERS
from tests.waiting import wait_until

pytestmark = pytest.mark.xdist_group("city")

CHROMIUM = (
    os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")
)

ISSUE = """
import django; django.setup()
from alatau_pay.devnet.demo import approved_shop, asset_named
from merchants.invoices import choose_option, issue_invoice, uri_of
invoice = issue_invoice(shop_id=approved_shop().id, amount_tiyn=450_000)
for symbol in ("BTC", "USDT"):
    option = choose_option(invoice=invoice, asset=asset_named(symbol))
    print(uri_of(option, quantity=int(option.quantity)))
print(invoice.token, invoice.shop_id)
"""


def in_the_city(city: City, program: str) -> str:
    """Run a program as a process of the city; returns what it prints."""
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=REPOSITORY,
        env=dict(city.environment),
        check=True,
        capture_output=True,
        text=True,
    )
    return done.stdout


def issue(city: City) -> tuple[dict[str, str], str, str]:
    """Issue an invoice; returns its URIs by coin, its token and its shop's id."""
    bitcoin, usdt, names = in_the_city(city, ISSUE).splitlines()
    token, shop = names.split()
    return {"BTC": bitcoin, "USDT": usdt}, token, shop


def query(city: City, sql: str, *parameters: object) -> list[tuple[object, ...]]:
    with psycopg.connect(city.environment["DATABASE_URL"], autocommit=True) as connection:
        return connection.execute(sql, parameters).fetchall()


def owed_tiyn(city: City, shop: str) -> object:
    sql = """SELECT -coalesce(sum(amount_tiyn), 0) FROM settlement_posting p
             JOIN settlement_account a ON a.id = p.account_id
             WHERE a.code = 'merchant_payable' AND a.beneficiary = %s"""
    return query(city, sql, shop)[0][0]


def test_an_operators_shell_works_on_the_city(city: City) -> None:
    issue(city)
    path = city.write_settings()
    assert path.stat().st_mode & 0o077 == 0
    for words, said in (
        ("networks", "Ethereum"),
        ("wallet show", "operator"),
        ("sweep --plan --network Ethereum", "the gas payer"),
        ("trial_balance", "Difference"),
    ):
        done = subprocess.run(
            ["bash", "-c", f'. "$1"; exec "$2" manage.py {words}', "bash", path, sys.executable],
            cwd=REPOSITORY,
            env={"PATH": os.environ["PATH"]},
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        assert said in done.stdout


@pytest.mark.case("R113")
@pytest.mark.parametrize(
    "table",
    [
        "chains_transfer",
        "merchants_transfercursor",
        "merchants_invoicepayment",
        "settlement_posting",
        "merchants_outboxevent",
    ],
)
@pytest.mark.parametrize("coin", ["BTC", "USDT"])
def test_a_worker_killed_between_any_two_steps_settles_once(
    city: City, table: str, coin: str
) -> None:
    """A lock on the step's table holds the worker right there; then it is killed with -9."""
    uris, token, shop = issue(city)
    city.devnet.resident.pay(uris[coin])
    blocked = "SELECT 1 FROM pg_locks WHERE NOT granted AND relation = %s::regclass"
    with psycopg.connect(city.environment["DATABASE_URL"]) as lock:
        lock.execute(f"LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE")
        city.devnet.bitcoin.mine(3)
        city.devnet.evm.mine(3)
        wait_until(lambda: bool(query(city, blocked, table)))
        for worker in WORKERS:
            city.kill(worker)
        lock.rollback()
    city.start_workers()

    status = "SELECT status FROM merchants_invoice WHERE token = %s"
    wait_until(lambda: query(city, status, token) == [("settled",)])

    assert owed_tiyn(city, shop) == 450_000
    assert query(city, "SELECT sum(amount_tiyn) FROM settlement_posting") == [(0,)]
    events = """SELECT count(*) FROM merchants_outboxevent e JOIN merchants_invoice i
                ON i.id = e.invoice_id WHERE i.token = %s AND e.type = 'invoice.settled'"""
    assert query(city, events, token) == [(1,)]


POKE = """
from alatau_pay.celery import app
for _ in range(8):
    app.send_task("alatau_pay.pipeline.scan_network", ["eip155:31337"])
"""
SCANNING_EVM = """
SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND granted
AND (classid::bigint << 32) | objid::bigint = hashtextextended('scan eip155:31337', 0)
"""
EVM_SIGHT = "SELECT caught_up_at FROM chains_cursor WHERE network = 'eip155:31337'"


@pytest.mark.case("R20")
def test_a_silent_node_keeps_no_other_network_s_payment_waiting(city: City) -> None:
    networks_file = Path(city.environment["NETWORKS_FILE"])
    before = networks_file.read_text()
    content = json.loads(before)
    with socket.create_server(("127.0.0.1", 0), backlog=100) as silent:  # it never answers
        evm = next(one for one in content["networks"] if one["kind"] == "evm")
        evm["endpoints"] = [f"http://127.0.0.1:{silent.getsockname()[1]}"]
        try:
            networks_file.write_text(json.dumps(content))
            _kept_open = silent.accept()
            assert len(query(city, SCANNING_EVM)) == 1
            last_sight = query(city, EVM_SIGHT)
            in_the_city(city, POKE)
            uris, token, _shop = issue(city)
            city.devnet.resident.pay(uris["BTC"])
            status = "SELECT status FROM merchants_invoice WHERE token = %s"
            wait_until(lambda: query(city, status, token) == [("processing",)])
            assert query(city, EVM_SIGHT) == last_sight  # nothing was seen there all the while
        finally:
            networks_file.write_text(before)


@pytest.mark.case("R104")
def test_no_log_of_the_city_holds_a_secret(city: City) -> None:
    uris, token, _shop = issue(city)
    city.devnet.resident.pay(uris["BTC"])
    status = "SELECT status FROM merchants_invoice WHERE token = %s"
    wait_until(lambda: query(city, status, token) == [("processing",)])
    logs = {path.name: path.read_text(errors="replace") for path in city.folder.glob("*.log")}
    assert logs.keys() >= {
        "web.log",
        "live.log",
        "beat.log",
        "listen.log",
        *map("{}.log".format, WORKERS),
    }
    said = "".join(logs.values())
    assert "invoices changed" in said
    password = urlsplit(city.devnet.bitcoin.rpc_url).password
    assert password
    for secret in (password, city.environment["SECRET_KEY"], city.devnet.bitcoin.account_key):
        assert secret not in said


@pytest.mark.case("R91")
@pytest.mark.parametrize("width", [390, 1280])
def test_a_resident_pays_and_sees_it_turn_green(city: City, width: int, tmp_path: Path) -> None:
    _uris, token, _shop = issue(city)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=CHROMIUM,
            args=["--no-sandbox", "--disable-background-networking"],
        )
        page = browser.new_page(viewport={"width": width, "height": 844}, locale="en")
        errors: list[str] = []
        page.on("console", lambda message: errors.append(message.text))
        page.goto(f"{city.public_url}/i/{token}")
        page.get_by_role("button", name="USDT").click()
        expect(page.locator("svg.qr")).to_be_visible()
        drawn = zxingcpp.read_barcodes(Image.open(io.BytesIO(page.screenshot(full_page=True))))
        assert [code.text for code in drawn] == [page.locator("#address").inner_text()]
        page.get_by_role("button", name="Pay with the test wallet").click()
        expect(page.get_by_text("Payment detected")).to_be_visible()
        expect(page.locator("#address")).to_have_count(0)
        city.devnet.evm.mine(3)
        expect(page.get_by_role("heading", name="Paid")).to_be_visible(timeout=10_000)
        overflow = page.evaluate("document.documentElement.scrollWidth > innerWidth")
        assert not overflow
        assert errors == []
        browser.close()


BROWSER_WALLET = """
(() => {
  let chain = "0x1";
  const request = async ({ method, params }) => {
    if (method === "eth_chainId") return chain;
    if (method === "wallet_switchEthereumChain") {
      if (window.refuses === "network") throw { code: 4902, message: "Unrecognized chain" };
      chain = params[0].chainId;
      return null;
    }
    if (method === "eth_requestAccounts" && window.refuses === "account") throw { code: 4001 };
    return JSON.parse(await window.askNode(JSON.stringify({ method, params: params || [] })));
  };
  const icon = "data:image/svg+xml,<svg/>";
  const info = { uuid: "u", name: "Tengri <b>Wallet</b>", icon, rdns: "kz.tengri" };
  const announce = () => window.dispatchEvent(new CustomEvent("eip6963:announceProvider", {
    detail: Object.freeze({ info, provider: { request } }),
  }));
  window.addEventListener("eip6963:requestProvider", announce);
  announce();
})();
"""


@pytest.mark.parametrize("symbol", ["USDT", "ETH"])
def test_a_browser_wallet_pays_like_a_scanned_qr(city: City, symbol: str) -> None:
    """EIP-6963; the wallet is a provider in the page whose keys and chain are the real node's."""
    _uris, token, _shop = issue(city)

    def ask_node(question: str) -> str:
        asked = json.loads(question)
        method = "eth_accounts" if asked["method"] == "eth_requestAccounts" else asked["method"]
        said = city.devnet.evm.rpc(method, *asked["params"])
        return json.dumps(said[1:2] if method == "eth_accounts" else said)

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=CHROMIUM,
            args=["--no-sandbox", "--disable-background-networking"],
        )
        page = browser.new_page(viewport={"width": 390, "height": 844}, locale="en")
        page.expose_function("askNode", ask_node)
        page.add_init_script(BROWSER_WALLET)
        page.goto(f"{city.public_url}/i/{token}")
        page.get_by_role("button", name=re.compile(f"^{symbol}")).click()
        button = page.get_by_role("button", name="Pay with Tengri <b>Wallet</b>")
        expect(button).to_have_count(1)
        for refusal, said in (
            ("account", "You declined in the wallet."),
            ("network", "Your wallet does not know the Ethereum network."),
        ):
            page.evaluate(f"window.refuses = '{refusal}'")
            button.click()
            expect(page.get_by_text(said)).to_be_visible()
            expect(button).to_be_enabled()
        page.evaluate("window.refuses = ''")
        button.click()
        expect(page.get_by_text("Payment detected").first).to_be_visible()
        browser.close()
    city.devnet.evm.mine(3)
    sql = """SELECT t.asset, t.value = o.quantity FROM chains_transfer t
             JOIN chains_address a ON a.id = t.address_id
             JOIN merchants_invoice i ON i.id::text = a.reference
             JOIN merchants_paymentoption o ON o.invoice_id = i.id AND o.asset = t.asset
             WHERE i.token = %s AND o.symbol = %s"""
    assert [exact for _asset, exact in query(city, sql, token, symbol)] == [True]
    status = "SELECT status FROM merchants_invoice WHERE token = %s"
    wait_until(lambda: query(city, status, token) == [("settled",)])
