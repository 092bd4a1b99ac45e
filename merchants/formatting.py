"""Amounts as people read them."""

from decimal import Decimal

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
