"""The public page of one invoice: choose a coin, scan, watch it turn green."""

import json
import urllib.request
from dataclasses import dataclass
from typing import Final

import segno
from django.conf import settings
from django.http import Http404, HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils.safestring import SafeString, mark_safe
from django.utils.translation import get_language
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET, require_POST

from chains.networks import registry
from merchants.checkout_state import state_of
from merchants.formatting import coins, tenge
from merchants.invoices import (
    InvoiceError,
    asset_of,
    choose_option,
    due_of,
    uri_of,
)
from merchants.models import Invoice, PaymentOption

TEST_WALLET_S_MAX: Final = 15


@dataclass(frozen=True, slots=True, kw_only=True)
class OptionView:
    """One coin as the page shows it; the last three are empty until it is chosen."""

    asset: str
    symbol: str
    name: str
    network: str
    amount: str
    address: str
    uri: str
    qr: str


@never_cache
@require_GET
def show(request: HttpRequest, token: str) -> HttpResponse:
    """Show the invoice; ``?asset=`` opens a coin that was chosen before."""
    invoice = _invoice(token)
    listed, due = registry(), due_of(invoice)
    # An asset that left the registry takes no new payment.
    views = [
        _view(option, due.quantities[option.asset])
        for option in invoice.options.all()
        if option.asset in listed.assets
    ]
    chosen = next(
        (one for one in views if one.asset == request.GET.get("asset") and one.address), None
    )
    state = state_of(invoice, due=due)
    context = {
        "invoice": invoice,
        "amount": tenge(invoice.amount_tiyn, get_language() or settings.LANGUAGE_CODE),
        "options": views,
        "chosen": chosen,
        "state": state,
        "is_open": invoice.status in {Invoice.Status.NEW, Invoice.Status.PROCESSING},
        # Nobody who has paid is shown where to pay again.
        "is_due": not state["paid_in_full"],
        "live_url": f"{settings.LIVE_URL}/live/invoices/{invoice.token}",
        "test_wallet": _has_test_wallet(),
        "languages": settings.LANGUAGES,
    }
    return render(request, "checkout/show.html", context)


@require_POST
def choose(request: HttpRequest, token: str) -> HttpResponse:
    """Choose a coin: it gets its address; then show it."""
    invoice = _invoice(token)
    try:
        option = choose_option(invoice=invoice, asset=request.POST.get("asset", ""))
    except InvoiceError:
        return redirect("checkout:show", token=token)
    response = redirect("checkout:show", token=token)
    response["Location"] += f"?asset={option.asset}"
    return response


@never_cache
@require_GET
def status(_request: HttpRequest, token: str) -> JsonResponse:
    """The page's state as JSON, for pages without live events."""
    invoice = _invoice(token)
    return JsonResponse(state_of(invoice, due=due_of(invoice)))


@require_POST
def test_pay(request: HttpRequest, token: str) -> HttpResponse:
    """Devnet only: have the resident's test wallet pay the chosen coin."""
    if not _has_test_wallet():
        raise Http404
    asset = request.POST.get("asset", "")
    option = get_object_or_404(
        PaymentOption.objects.exclude(address=""), invoice__token=token, asset=asset
    )
    quantity = due_of(option.invoice).quantities[asset]
    body = json.dumps({"uri": uri_of(option, quantity=quantity)}).encode()
    with urllib.request.urlopen(settings.DEVNET_WALLET_URL, body, timeout=TEST_WALLET_S_MAX):  # noqa: S310 -- loopback, checked
        response = redirect("checkout:show", token=token)
    response["Location"] += f"?asset={asset}"
    return response


def _has_test_wallet() -> bool:
    """True on a devnet alone; with DEVNET on, the registry refuses any other network."""
    loopback = settings.DEVNET_WALLET_URL.startswith("http://127.0.0.1:")
    return bool(settings.DEVNET and loopback)


def _invoice(token: str) -> Invoice:
    return get_object_or_404(Invoice.objects.select_related("shop"), token=token)


def _view(option: PaymentOption, quantity: int) -> OptionView:
    asset = asset_of(option)
    uri = uri_of(option, quantity=quantity) if option.address else ""
    # Wallets misread token URIs, so a token's QR is the plain address.
    content = option.address if asset.contract else uri
    return OptionView(
        asset=option.asset,
        symbol=asset.symbol,
        name=asset.name,
        network=registry().networks[option.network].name,
        amount=coins(quantity, asset.decimals),
        address=option.address,
        uri=uri,
        qr=_qr(content) if content else "",
    )


def _qr(content: str) -> SafeString:
    drawn = segno.make(content, error="m", micro=False)
    svg: str = drawn.svg_inline(
        border=4, omitsize=True, svgclass="qr", lineclass=None, light="#fff"
    )
    return mark_safe(svg)  # noqa: S308 -- segno's own drawing; the content is only modules
