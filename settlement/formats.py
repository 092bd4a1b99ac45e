"""Tenge, coins, prices and days as people read them: one way for each language, and one for files.

Kazakh and Russian: ``1 234,50 ₸``; English: ``1,234.50 ₸``; files: ``1234.50`` and ``24.11.2026``.
"""

from datetime import date
from decimal import Decimal
from typing import Final

from babel.dates import format_date

NO_BREAK_SPACE: Final = "\u00a0"


def tenge(amount_tiyn: int, language: str) -> str:
    """Write tiyn as tenge with two decimals: in ledgers, statements and documents."""
    return f"{tenge_in_column(amount_tiyn, language)}{NO_BREAK_SPACE}₸"


def tenge_short(amount_tiyn: int, language: str) -> str:
    """Write tiyn as tenge, whole tenge without their zero tiyn: on posters and at the checkout."""
    text = tenge_in_column(amount_tiyn, language)
    return f"{text if amount_tiyn % 100 else text[:-3]}{NO_BREAK_SPACE}₸"


def tenge_in_column(amount_tiyn: int, language: str) -> str:
    """Write tiyn as tenge without a sign of the currency, which the column's heading tells."""
    whole, tiyn = divmod(abs(amount_tiyn), 100)
    text = f"{'-' if amount_tiyn < 0 else ''}{whole:,}.{tiyn:02}"
    if language.startswith("en"):
        return text
    return text.replace(",", NO_BREAK_SPACE).replace(".", ",")


def tenge_plain(amount_tiyn: int) -> str:
    """Write tiyn as tenge for a file: two decimals after a point, no groups."""
    whole, tiyn = divmod(abs(amount_tiyn), 100)
    return f"{'-' if amount_tiyn < 0 else ''}{whole}.{tiyn:02}"


def coins(quantity: int, decimals: int) -> str:
    """Write base units as a plain decimal number of whole coins, as wallets read it."""
    text = f"{Decimal(quantity).scaleb(-decimals):f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def price(price_tiyn: Decimal, symbol: str, language: str) -> str:
    """Write the price of one whole coin, to the nearest tiyn: ``1 BTC = 45 000 000 ₸``."""
    amount = tenge_short(int(price_tiyn.to_integral_value()), language)
    return f"1{NO_BREAK_SPACE}{symbol} = {amount}"


def iban_in_groups(iban: str) -> str:
    """Write an IBAN as it is printed, in groups of four."""
    return NO_BREAK_SPACE.join(iban[start : start + 4] for start in range(0, len(iban), 4))


def day_in_words(day: date, language: str) -> str:
    """Write a day with its month in words: ``2026 ж. 24 қараша``, ``24 ноября 2026 г.``."""
    is_english = language.startswith("en")
    text = format_date(day, "d MMMM y" if is_english else "long", locale=language)
    # Not every font has the narrow space.
    return str(text).replace("\u202f", NO_BREAK_SPACE)


def day_plain(day: date) -> str:
    """Write a day for a file or a table: ``24.11.2026``."""
    return f"{day:%d.%m.%Y}"
