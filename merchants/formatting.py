"""Coins, prices and moments as people read them; tenge is in ``settlement.formats``."""

from datetime import datetime
from decimal import Decimal

from django.utils import timezone

from settlement.formats import NO_BREAK_SPACE, tenge_short


def coins(quantity: int, decimals: int) -> str:
    """Write base units as a plain decimal number of whole coins, as wallets read it."""
    text = f"{Decimal(quantity).scaleb(-decimals):f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def price(price_tiyn: Decimal, symbol: str, language: str) -> str:
    """Write the price of one whole coin, to the nearest tiyn: ``1 BTC = 45 000 000 ₸``."""
    amount = tenge_short(int(price_tiyn.to_integral_value()), language)
    return f"1{NO_BREAK_SPACE}{symbol} = {amount}"


def clock(moment: datetime, *, now: datetime) -> str:
    """Write a moment as the city's clocks show it: ``18:40``, with its day if not today."""
    local = timezone.localtime(moment)
    is_today = local.date() == timezone.localtime(now).date()
    return f"{local:%H:%M}" if is_today else day_and_clock(moment)


def day_and_clock(moment: datetime) -> str:
    """Write a moment with its day in the city: ``24.11.2026, 18:40``."""
    return f"{timezone.localtime(moment):%d.%m.%Y, %H:%M}"
