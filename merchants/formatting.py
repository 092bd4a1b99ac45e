"""Amounts as people read them."""

from datetime import datetime
from decimal import Decimal

from django.utils import timezone

NO_BREAK_SPACE = "\u00a0"


def tenge(amount_tiyn: int, language: str) -> str:
    """Write tiyn as tenge: ``1 234,50 ₸`` in Kazakh and Russian, ``1,234.50 ₸`` in English.

    A whole number of tenge is written without its zero tiyn.
    """
    whole, tiyn = divmod(amount_tiyn, 100)
    text = f"{whole:,}" + (f".{tiyn:02}" if tiyn else "")
    if not language.startswith("en"):
        text = text.replace(",", NO_BREAK_SPACE).replace(".", ",")
    return f"{text}{NO_BREAK_SPACE}₸"


def coins(quantity: int, decimals: int) -> str:
    """Write base units as a plain decimal number of whole coins, as wallets read it."""
    text = f"{Decimal(quantity).scaleb(-decimals):f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def price(price_tiyn: Decimal, symbol: str, language: str) -> str:
    """Write the price of one whole coin, to the nearest tiyn: ``1 BTC = 45 000 000 ₸``."""
    amount = tenge(int(price_tiyn.to_integral_value()), language)
    return f"1{NO_BREAK_SPACE}{symbol} = {amount}"


def clock(moment: datetime, *, now: datetime) -> str:
    """Write a moment as the city's clocks show it: ``18:40``, with its day if not today."""
    local = timezone.localtime(moment)
    is_today = local.date() == timezone.localtime(now).date()
    return f"{local:%H:%M}" if is_today else day_and_clock(moment)


def day_and_clock(moment: datetime) -> str:
    """Write a moment with its day in the city: ``24.11.2026, 18:40``."""
    return f"{timezone.localtime(moment):%d.%m.%Y, %H:%M}"
