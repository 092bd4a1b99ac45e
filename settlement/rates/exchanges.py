"""Exchanges, read through ccxt: the best bid and ask of each market that the operator names.

ccxt parses numbers as floats unless it is told otherwise. Here it is told: JSON numbers stay the
text that came, and its own ``number`` is ``str``, so no price is ever a float. Markets are named in
the configuration with the exchange's own ids: no list of markets is fetched, nor trusted.
"""

import importlib
import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from io import BytesIO
from typing import Any, Final

import requests
from typing_extensions import override

from settlement.rates.asking import Asker, AskError
from settlement.rates.combining import is_near
from settlement.rates.feeds import ExchangeEntry
from settlement.rates.observations import Answer, BadPriceError, Seen, exact, price_from

SPREAD_BP_MAX: Final = 300
"""A wider gap between bid and ask is no market but what is left of one."""
NESTED_MAX: Final = 1000
"""A ticker has a dozen parts; Python's parser recurses, and can bring its process down."""
EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
ERROR_CHARS_MAX: Final = 120


class Exchange:
    """The feed of one exchange."""

    def __init__(self, entry: ExchangeEntry, *, timeout_s: int) -> None:
        """Remember what is to be asked of whom."""
        self._entry, self._timeout_s = entry, timeout_s

    @property
    def name(self) -> str:
        """The exchange's name in ccxt."""
        return self._entry.name

    def observe(self, *, now: datetime) -> Answer:
        """Ask for the ticker of every market; the first failing question ends it."""
        seen: list[Seen] = []
        refused: list[str] = []
        with Asker(timeout_s=self._timeout_s) as asker:
            exchange = _connect(self._entry, asker)
            for pair, market_id in self._entry.markets.items():
                try:
                    ticker = exchange.fetch_ticker(pair)
                    seen.append(_seen(ticker, self.name, pair, market_id, now))
                except BadPriceError as error:
                    refused.append(f"{pair}: {error}")
                except Exception as error:  # noqa: BLE001 -- ccxt's parsers raise anything
                    refused.append(f"{pair}: {_told(error)}")
                    if not asker.is_well:
                        break
            return Answer(
                seen=tuple(seen), refused=tuple(refused), retry_after_s=asker.retry_after_s
            )


class _Session(requests.Session):
    """What ccxt asks through: it knows requests, and we bound the whole."""

    def __init__(self, asker: Asker) -> None:
        super().__init__()
        self._asker = asker

    @override
    def request(  # type: ignore[override]  # what ccxt gives of its many arguments
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str],
        **_others: object,
    ) -> requests.Response:
        try:
            answer = self._asker.ask(url, method=method, headers=headers)
        except AskError as error:
            raise requests.ConnectionError(str(error)) from error
        response = requests.Response()
        response.status_code = answer.status
        response.reason = ""
        response.url = url
        response.headers.update(answer.headers)
        response.raw = BytesIO(answer.body)
        return response


def _connect(entry: ExchangeEntry, asker: Asker) -> Any:  # noqa: ANN401 -- ccxt has no types
    """The object of ccxt's for an exchange, with the configured markets and our session."""
    # Only workers that ask pay for its 70 MB.
    known = getattr(importlib.import_module("ccxt"), entry.name)

    class Exact(known):  # type: ignore[misc, valid-type]
        number = str

        def on_json_response(self, response_body: str) -> object:
            if response_body.count("[") + response_body.count("{") > NESTED_MAX:
                raise BadPriceError("an answer of too many parts")
            return json.loads(response_body, parse_float=str, parse_int=str)

    options: dict[str, Any] = {"enableRateLimit": False, "session": _Session(asker)}
    if entry.urls:
        options["urls"] = entry.urls
    if entry.hostname:
        options["hostname"] = entry.hostname
    exchange = Exact(options)
    markets = []
    for pair, market_id in entry.markets.items():
        base, _, quote = pair.partition("/")
        names = {"id": market_id, "symbol": pair, "base": base, "quote": quote}
        kind = {"type": "spot", "spot": True, "active": True, "baseId": base, "quoteId": quote}
        others = dict.fromkeys(("margin", "swap", "future", "option", "contract"), False)
        markets.append(exchange.safe_market_structure(names | kind | others))
    exchange.set_markets(markets)
    return exchange


def _seen(ticker: Mapping[str, Any], source: str, pair: str, market_id: str, now: datetime) -> Seen:
    """The middle of bid and ask; raises BadPriceError for a ticker that is not to be believed."""
    _check_market(ticker, pair, market_id)
    bid, ask, last = (ticker.get(key) for key in ("bid", "ask", "last"))
    if bid is None and ask is None:
        # ccxt leaves out a side that is zero; where both are, this market tells no book at all.
        price = price_from(last)
    elif bid is None or ask is None:
        raise BadPriceError("one side of the book is empty or zero")
    else:
        low, high = Fraction(price_from(bid)), Fraction(price_from(ask))
        if low > high or not is_near(low, high, SPREAD_BP_MAX):
            raise BadPriceError(f"the book is crossed or torn: bid {bid}, ask {ask}")
        price = exact((low + high) / 2)
    return Seen(
        source=source,
        pair=pair,
        price=price,
        observed_at=_observed_at(ticker, now),
        fetched_at=now,
    )


def _check_market(ticker: Mapping[str, Any], pair: str, market_id: str) -> None:
    """Refuse another market's ticker: ccxt takes the one that was asked for for granted (R67)."""
    info = ticker.get("info")
    told = [info.get(key) for key in ("symbol", "instId", "pair")] if isinstance(info, dict) else []
    others = {name for name in told if name is not None} - {market_id, pair}
    if others or ticker.get("symbol") != pair:
        raise BadPriceError(f"the answer is for {sorted(map(str, others))}")


def _observed_at(ticker: Mapping[str, Any], now: datetime) -> datetime:
    """The exchange's own time; the moment of asking where it tells none."""
    stamp_ms = ticker.get("timestamp")
    if stamp_ms is None:
        return now
    try:
        return EPOCH + timedelta(milliseconds=int(stamp_ms))
    except (OverflowError, ValueError) as error:
        raise BadPriceError(f"the time {str(stamp_ms)[:30]!r}") from error


def _told(error: Exception) -> str:
    """An exception of ccxt's in short; its texts hold whole answers."""
    cause = error.__cause__
    words = str(cause) if isinstance(cause, requests.ConnectionError) else str(error)
    return f"{type(error).__name__} {words[:ERROR_CHARS_MAX]}"
