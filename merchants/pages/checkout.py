"""The public page of one invoice: choose a coin, scan, watch it turn green."""

from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlencode

import segno
from django.conf import settings
from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.templatetags.static import static
from django.urls import reverse
from django.utils import timezone
from django.utils.functional import Promise
from django.utils.html import format_html
from django.utils.safestring import SafeString, mark_safe
from django.utils.translation import get_language, gettext_lazy
from django.utils.translation import gettext as _
from django.views.decorators.cache import never_cache
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_POST, require_safe

from chains.assets import Asset, NetworkKind
from chains.networks import registry
from merchants.checkout_state import Checkout, Stage, checkout_of
from merchants.formatting import clock, day_and_clock
from merchants.invoices import InvoiceError, choose_option, uri_of
from merchants.models import Invoice, PaymentOption
from merchants.pages.devnet_wallet import WalletError, has_test_wallet, pay_from_test_wallet
from merchants.pages.rates import rate_notes
from settlement.formats import coins, price, tenge_short
from settlement.rates.provenance import provenances_of

REFERENCE_CHARS: Final = 8

HEADINGS: Final[dict[Stage, str | Promise]] = {
    Stage.OPEN: gettext_lazy("Waiting for your payment"),
    Stage.PART: gettext_lazy("A part has arrived"),
    Stage.DETECTED: gettext_lazy("Payment detected"),
    Stage.CHECKING: gettext_lazy("Checking…"),
    Stage.PAID: gettext_lazy("Paid"),
    Stage.EXPIRED: gettext_lazy("The time is over"),
    Stage.REVERSED: gettext_lazy("The payment was taken back"),
}
PAYABLE: Final = (Stage.OPEN, Stage.PART)
"""Nobody who has paid, or whose time is over, is shown where to pay."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OptionView:
    """One coin as the page shows it; the last four are empty until it is chosen.

    ``wallet_uri`` stays empty for a token: wallets misread its EIP-681 URI, so ``qr`` holds the
    address alone. ``chain_id`` stays empty where no browser wallet can pay; ``token`` is the
    contract, empty for a network's own coin; ``quantity`` is in base units.
    """

    asset: str
    symbol: str
    network: str
    amount: str
    price: str
    address: str
    token: str
    quantity: int
    chain_id: str
    wallet_uri: str
    qr: str


@never_cache
@require_safe
def show(request: HttpRequest, token: str) -> HttpResponse:
    """Show the invoice; ``?asset=`` opens a coin that was chosen before."""
    invoice = _invoice(token)
    checkout = checkout_of(invoice)
    options = _options(invoice, checkout) if checkout.stage in PAYABLE else []
    wanted = request.GET.get("asset")
    chosen = next((one for one in options if one.asset == wanted and one.address), None)
    context = _words(invoice, checkout) | {
        "invoice": invoice,
        "checkout": checkout,
        "stage": checkout.stage.value,
        "options": [one for one in options if one is not chosen],
        "chosen": chosen,
        "rate_notes": _rate_notes(checkout, chosen) if chosen else [],
        "live_url": f"{settings.LIVE_URL}/live/invoices/{invoice.token}",
        "is_devnet": settings.DEVNET,
        "has_test_wallet": has_test_wallet(),
        "languages": settings.LANGUAGES,
    }
    return render(request, "checkout/show.html", context)


@csrf_exempt
@require_POST
def choose(request: HttpRequest, token: str) -> HttpResponse:
    """Choose a coin: it gets its address; then show it.

    Exempt from CSRF, so that residents without cookies can pay: it is idempotent, whoever has the
    link may do it, and no session gives it authority.
    """
    invoice = _invoice(token)
    asset = request.POST.get("asset", "")
    if not _takes(checkout_of(invoice), asset):
        return redirect("checkout:show", token=token)
    try:
        choose_option(invoice=invoice, asset=asset)
    except InvoiceError:
        return redirect("checkout:show", token=token)
    return _redirect_to_coin(token, asset)


@never_cache
@require_safe
def status(_request: HttpRequest, token: str) -> JsonResponse:
    """The page's state as JSON, for pages without live events."""
    return JsonResponse(checkout_of(_invoice(token)).as_json())


@require_safe
def icon(_request: HttpRequest) -> HttpResponse:
    """Send browsers that ask for an icon by its old name to ours."""
    return redirect(static("checkout/icon.svg"))


@require_POST
def test_pay(request: HttpRequest, token: str) -> HttpResponse:
    """Devnet only: have the resident's test wallet pay what is due in the chosen coin."""
    if not has_test_wallet():
        raise Http404
    asset = request.POST.get("asset", "")
    option = get_object_or_404(
        PaymentOption.objects.exclude(address=""), invoice__token=token, asset=asset
    )
    checkout = checkout_of(option.invoice)
    if _takes(checkout, asset):
        try:
            pay_from_test_wallet(uri=uri_of(option, quantity=checkout.due.quantities[asset]))
        except WalletError:
            messages.error(request, _("The test wallet could not pay."))
    return _redirect_to_coin(token, asset)


def _invoice(token: str) -> Invoice:
    return get_object_or_404(Invoice.objects.select_related("shop"), token=token)


def _takes(checkout: Checkout, asset: str) -> bool:
    """Whether a payment in an asset may still be asked for."""
    return checkout.stage in PAYABLE and asset in registry().assets


def _redirect_to_coin(token: str, asset: str) -> HttpResponse:
    return redirect(f"{reverse('checkout:show', args=[token])}?{urlencode({'asset': asset})}")


def _words(invoice: Invoice, checkout: Checkout) -> dict[str, Any]:
    """What the page says of money and time, in its language."""
    language = get_language() or settings.LANGUAGE_CODE
    is_part = checkout.stage in {Stage.PART, Stage.CHECKING} and checkout.received_tiyn > 0
    return {
        "heading": HEADINGS[checkout.stage],
        "demand": tenge_short(checkout.left_tiyn if is_part else invoice.amount_tiyn, language),
        "is_part": is_part,
        "total": tenge_short(invoice.amount_tiyn, language),
        "received": tenge_short(checkout.received_tiyn, language),
        "left": tenge_short(checkout.left_tiyn, language),
        "reference": invoice.order_id or invoice.token[:REFERENCE_CHARS],
        "until": clock(invoice.expires_at, now=timezone.now()),
        "paid_at": day_and_clock(invoice.settled_at) if invoice.settled_at else "",
    }


def _options(invoice: Invoice, checkout: Checkout) -> list[OptionView]:
    """Every coin that can be paid now: an asset that left the registry takes no new payment."""
    listed = registry().assets
    return [
        _option(option, listed[option.asset], checkout)
        for option in invoice.options.all()
        if option.asset in listed
    ]


def _option(option: PaymentOption, asset: Asset, checkout: Checkout) -> OptionView:
    quote, quantity = checkout.quotes[option.asset], checkout.due.quantities[option.asset]
    uri = uri_of(option, quantity=quantity) if option.address and not asset.contract else ""
    network = registry().networks[option.network]
    is_evm = network.kind is NetworkKind.EVM
    content = uri or option.address
    label = _("QR code with the address and the amount") if uri else _("QR code with the address")
    return OptionView(
        asset=option.asset,
        symbol=option.symbol,
        network=network.name,
        amount=coins(quantity, quote.decimals),
        price=price(quote.price_tiyn, option.symbol, get_language() or settings.LANGUAGE_CODE),
        address=option.address,
        token=asset.contract or "",
        quantity=quantity,
        chain_id=str(network.chain_id) if is_evm and option.address else "",
        wallet_uri=uri,
        qr=_qr(content, label=label) if content else "",
    )


def _rate_notes(checkout: Checkout, chosen: OptionView) -> list[str]:
    quote = checkout.quotes[chosen.asset].id
    language = get_language() or settings.LANGUAGE_CODE
    return rate_notes(provenances_of([quote])[quote], language=language)


def _qr(content: str, *, label: str) -> SafeString:
    drawn = segno.make(content, error="m", micro=False)
    svg: str = drawn.svg_inline(
        border=4, omitsize=True, svgclass="qr", lineclass=None, light="#fff"
    )
    named = format_html('<svg role="img" aria-label="{}" ', label)
    return mark_safe(svg.replace("<svg ", named, 1))  # noqa: S308 -- segno's own drawing
