"""Who is asked, and for which markets: the operator's file, or the list that comes with us."""

import re
from collections.abc import Iterable, Mapping
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import msgspec
from django.conf import settings

PAIR: Final = re.compile(r"[A-Z0-9]{2,10}/[A-Z0-9]{2,10}")
DEFAULT_FILE: Final = Path(__file__).with_name("feeds.json")


class FeedsError(Exception):
    """The file of feeds cannot be used; the message says what is wrong with it."""


class ExchangeEntry(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One exchange by its name in ccxt; ``markets`` are the exchange's own ids by pair.

    ``urls`` and ``hostname`` go to ccxt where an exchange is to be reached elsewhere.
    """

    name: str
    markets: dict[str, str]
    urls: dict[str, Any] = {}
    hostname: str = ""


class NationalBankEntry(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where the official rates are."""

    url: str


class Feeds(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Everything that is asked."""

    exchanges: tuple[ExchangeEntry, ...]
    national_bank: NationalBankEntry


def rates_are_fixed() -> bool:
    """Whether a devnet goes by ``FIXED_RATES``: then nobody outside is asked."""
    return bool(settings.DEVNET and settings.FIXED_RATES)


def configured_feeds() -> Feeds:
    """The feeds that ``RATES_FILE`` lists, or the default ones; raises FeedsError."""
    return _read(Path(settings.RATES_FILE) if settings.RATES_FILE else DEFAULT_FILE)


@lru_cache(maxsize=4)
def _read(path: Path) -> Feeds:
    try:
        feeds = msgspec.json.decode(path.read_bytes(), type=Feeds)
    except (OSError, msgspec.MsgspecError) as error:
        raise FeedsError(f"RATES_FILE {path.name}: {error}") from error
    wrong = _wrong(feeds)
    if wrong:
        raise FeedsError(f"RATES_FILE {path.name}: {wrong}")
    return feeds


def _wrong(feeds: Feeds) -> str:
    """What is wrong with the feeds, empty for nothing."""
    names = [one.name for one in feeds.exchanges]
    if len(set(names)) != len(names):
        return "an exchange stands twice"
    unknown = [name for name in names if not _is_known(name)]
    if unknown:
        return f"ccxt knows no exchange {unknown[0]!r}"
    pairs = [pair for one in feeds.exchanges for pair in one.markets]
    misnamed = [pair for pair in pairs if not PAIR.fullmatch(pair)]
    if misnamed:
        return f"{misnamed[0]!r} is no such pair as BTC/USD"
    urls = _urls([feeds.national_bank.url, *(one.urls for one in feeds.exchanges)])
    if not settings.DEVNET and any(urlsplit(url).scheme != "https" for url in urls):
        return "a source without https"
    return ""


def _is_known(name: str) -> bool:
    """Whether ccxt has a module for an exchange; importing all of them takes 70 MB."""
    library = find_spec("ccxt")
    if library is None or library.origin is None or not name.isidentifier():
        return False
    return Path(library.origin).with_name(f"{name}.py").exists()


def _urls(value: object) -> list[str]:
    """Every address in a nest of lists and mappings."""
    if isinstance(value, str):
        return [value]
    inner = value.values() if isinstance(value, Mapping) else value
    return [url for one in inner for url in _urls(one)] if isinstance(inner, Iterable) else []
