"""What sources say: the interface that all of them have, and the rows that remember it.

A source answers with prices that it saw; what cannot be a price never becomes a row, so a row is a
price above zero. Whether it is fresh, and what it is worth beside the others, is judged later.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal, InvalidOperation, localcontext
from fractions import Fraction
from typing import Final, Protocol

from settlement.models import Observation, OfficialRates, SourceAttempt
from settlement.rate_models import PRICE_MAX

PRICE_DIGITS: Final = 18
"""Fractional digits that a stored price keeps."""
ERROR_CHARS_MAX: Final = 300


class BadPriceError(Exception):
    """A source named a price that cannot be one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """One price as one source saw it: quote currency for one unit of the base (``BTC/USDT``)."""

    source: str
    pair: str
    price: Decimal
    observed_at: datetime
    fetched_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class OfficialDocument:
    """One day's official rates: the document as it came, and tenge for one unit by currency."""

    effective_on: date
    document: bytes
    rates: dict[str, Decimal]


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What came of asking one source once; ``refused`` says what was no price, and why."""

    seen: tuple[Seen, ...] = ()
    documents: tuple[OfficialDocument, ...] = ()
    refused: tuple[str, ...] = ()
    retry_after_s: int | None = None

    @property
    def is_usable(self) -> bool:
        """Whether anything came that can be used."""
        return bool(self.seen or self.documents)


class Feed(Protocol):
    """One place outside that tells prices."""

    @property
    def name(self) -> str:
        """The source's name in every row."""

    def observe(self, *, now: datetime) -> Answer:
        """Ask for every price that is configured; ``now`` is the database's time (UTC)."""


def price_from(text: object) -> Decimal:
    """The price that a source's text names; raises BadPriceError for what cannot be one (R67).

    Refuses floats: they have lost digits already.
    """
    if not isinstance(text, str):
        raise BadPriceError(f"{text!r} is no text of a number")
    try:
        price = Decimal(text)
    except InvalidOperation:
        raise BadPriceError(f"{text[:40]!r} is no number") from None
    if not price.is_finite() or not 0 < price <= PRICE_MAX:
        raise BadPriceError(f"{text[:40]!r} is no price")
    return exact(Fraction(price))


def exact(price: Fraction) -> Decimal:
    """A price with ``PRICE_DIGITS`` digits; raises BadPriceError for what rounds to nothing."""
    with localcontext(prec=60):
        rounded = (Decimal(price.numerator) / Decimal(price.denominator)).quantize(
            Decimal(1).scaleb(-PRICE_DIGITS)
        )
    if rounded <= 0:
        raise BadPriceError("a price that rounds to nothing")
    return rounded


def plain(price: Decimal) -> str:
    """A price as a plain decimal number, with all its digits and no idle zeros."""
    text = f"{price:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def record_answer(*, source: str, answer: Answer, tried_at: datetime) -> None:
    """Keep what one attempt brought, and that it was made; call it inside a transaction."""
    Observation.objects.bulk_create(
        Observation(
            source=one.source,
            pair=one.pair,
            price=one.price,
            observed_at=one.observed_at,
            fetched_at=one.fetched_at,
        )
        for one in answer.seen
    )
    # The same document may come every hour; a corrected one of the same day stands beside it.
    OfficialRates.objects.bulk_create(
        (
            OfficialRates(
                effective_on=one.effective_on,
                document=one.document,
                rates={code: str(rate) for code, rate in sorted(one.rates.items())},
                fetched_at=tried_at,
            )
            for one in answer.documents
        ),
        ignore_conflicts=True,
    )
    retry_s = answer.retry_after_s
    SourceAttempt.objects.create(
        source=source,
        tried_at=tried_at,
        is_usable=answer.is_usable,
        error="; ".join(answer.refused).replace("\0", "")[:ERROR_CHARS_MAX],
        retry_at=None if retry_s is None else tried_at + timedelta(seconds=retry_s),
    )


def newest_observations(*, since: datetime) -> list[Seen]:
    """The newest row of each source and pair that was fetched after ``since``."""
    rows = (
        Observation.objects.filter(fetched_at__gt=since)
        .order_by("source", "pair", "-fetched_at", "-id")
        .distinct("source", "pair")
    )
    return [
        Seen(
            source=row.source,
            pair=row.pair,
            price=row.price,
            observed_at=row.observed_at,
            fetched_at=row.fetched_at,
        )
        for row in rows
    ]


@dataclass(frozen=True, slots=True, kw_only=True)
class OfficialRate:
    """Tenge for one unit of a currency, official from ``effective_on`` until the next document."""

    currency: str
    tenge: Decimal
    effective_on: date
    fetched_at: datetime
    document_id: int


def official_rates(*, currency: str, on: date, since: date) -> list[OfficialRate]:
    """The official rates of days from ``since`` to ``on``, the newest first, at most one a day.

    A day without a document has none: the day before stands (R69).
    """
    rows = (
        OfficialRates.objects.filter(effective_on__range=(since, on), rates__has_key=currency)
        .order_by("-effective_on", "-id")
        .distinct("effective_on")
        .values_list("effective_on", "rates", "fetched_at", "id")
    )
    return [
        OfficialRate(
            currency=currency,
            tenge=Decimal(rates[currency]),
            effective_on=effective_on,
            fetched_at=fetched_at,
            document_id=document_id,
        )
        for effective_on, rates, fetched_at, document_id in rows
    ]


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One time that a source was asked."""

    tried_at: datetime
    is_usable: bool
    error: str
    retry_at: datetime | None


def newest_attempts(*, sources: Collection[str], count_max: int) -> dict[str, Sequence[Attempt]]:
    """The newest attempts of each source, newest first."""
    return {
        source: [
            Attempt(
                tried_at=row.tried_at,
                is_usable=row.is_usable,
                error=row.error,
                retry_at=row.retry_at,
            )
            for row in SourceAttempt.objects.filter(source=source).order_by("-tried_at", "-id")[
                :count_max
            ]
        ]
        for source in sources
    }
