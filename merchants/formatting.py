"""Moments as a payer reads them; amounts, prices and days are in ``settlement.formats``."""

from datetime import datetime

from django.utils import timezone


def clock(moment: datetime, *, now: datetime) -> str:
    """Write a moment as the city's clocks show it: ``18:40``, with its day if not today."""
    local = timezone.localtime(moment)
    is_today = local.date() == timezone.localtime(now).date()
    return f"{local:%H:%M}" if is_today else day_and_clock(moment)


def day_and_clock(moment: datetime) -> str:
    """Write a moment with its day in the city: ``24.11.2026, 18:40``."""
    return f"{timezone.localtime(moment):%d.%m.%Y, %H:%M}"
