"""The National Bank's official rates, a document for each day.

``get_rates.cfm?fdate=DD.MM.YYYY`` answers with tenge for ``quant`` units of each currency. A day
may have none: then the day before stands (R69). From half past four in the city the next day's are
out, and are fetched beforehand.
"""

import re
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from fractions import Fraction
from typing import Final
from urllib.parse import urlencode
from xml.etree.ElementTree import Element, ParseError

from defusedxml import DefusedXmlException
from defusedxml.ElementTree import fromstring

from settlement.calendar import ALMATY
from settlement.rates.asking import Asker, AskError
from settlement.rates.observations import (
    Answer,
    BadPriceError,
    OfficialDocument,
    exact,
    price_from,
)

NAME: Final = "national_bank"
TOMORROW_FROM: Final = time(16, 30)
DATE_FORMAT: Final = "%d.%m.%Y"
QUANT: Final = re.compile(r"[1-9][0-9]{0,5}")
NEEDED: Final = "USD"
HTTP_OK: Final = 200


class OfficialDocumentError(Exception):
    """The document cannot be read, or is not the one that was asked for."""


class NationalBank:
    """The feed of official rates; ``days_back`` bounds the days without a document."""

    name = NAME

    def __init__(self, *, url: str, timeout_s: int, days_back: int) -> None:
        """Remember where the documents are."""
        self._url, self._timeout_s, self._days_back = url, timeout_s, days_back

    def observe(self, *, now: datetime) -> Answer:
        """Ask for today's document, or the newest before it, and from 16:30 for tomorrow's."""
        local = now.astimezone(ALMATY)
        documents: list[OfficialDocument] = []
        refused: list[str] = []
        with Asker(timeout_s=self._timeout_s) as asker:
            try:
                documents += self._newest(asker, local.date())
                if local.time() >= TOMORROW_FROM:
                    document = self._document(asker, local.date() + timedelta(days=1))
                    documents += [document] if document else []
            except (AskError, OfficialDocumentError) as error:
                refused.append(str(error))
            return Answer(
                documents=tuple(documents),
                refused=tuple(refused),
                retry_after_s=asker.retry_after_s,
            )

    def _newest(self, asker: Asker, day: date) -> list[OfficialDocument]:
        for back in range(self._days_back + 1):
            document = self._document(asker, day - timedelta(days=back))
            if document is not None:
                return [document]
        raise OfficialDocumentError(f"no document for {self._days_back} days")

    def _document(self, asker: Asker, day: date) -> OfficialDocument | None:
        answer = asker.ask(f"{self._url}?{urlencode({'fdate': day.strftime(DATE_FORMAT)})}")
        if answer.status != HTTP_OK:
            raise OfficialDocumentError(f"HTTP {answer.status}")
        return read_document(answer.body, day=day)


def read_document(document: bytes, *, day: date) -> OfficialDocument | None:
    """Read one day's document; None for one without rates.

    Raises OfficialDocumentError for what is no such document, is another day's, or names a rate
    that cannot be one.
    """
    try:
        root = fromstring(document, forbid_dtd=True)
    except (ParseError, DefusedXmlException, ValueError, LookupError) as error:
        raise OfficialDocumentError(f"no readable document: {type(error).__name__}") from error
    if root.tag != "rates":
        raise OfficialDocumentError("no document of rates")
    told = (root.findtext("date") or "").strip()
    items = root.findall("item")
    if told != day.strftime(DATE_FORMAT) and (told or items):
        raise OfficialDocumentError(f"{day:%d.%m.%Y} was asked for, the document is of {told!r}")
    if not items:
        return None
    rates: dict[str, Decimal] = {}
    for item in items:
        currency, tenge = _rate(item)
        if currency in rates:
            raise OfficialDocumentError(f"{currency} stands twice")
        rates[currency] = tenge
    if NEEDED not in rates:
        raise OfficialDocumentError(f"no {NEEDED}")
    return OfficialDocument(effective_on=day, document=document, rates=rates)


def _rate(item: Element) -> tuple[str, Decimal]:
    """Tenge for one unit: ``description`` is for ``quant`` units."""
    currency = (item.findtext("title") or "").strip()
    quant = (item.findtext("quant") or "").strip()
    if not QUANT.fullmatch(quant):
        raise OfficialDocumentError(f"{currency}: {quant[:20]!r} units")
    try:
        tenge = price_from((item.findtext("description") or "").strip())
        return currency, exact(Fraction(tenge) / int(quant))
    except BadPriceError as error:
        raise OfficialDocumentError(f"{currency}: {error}") from error
