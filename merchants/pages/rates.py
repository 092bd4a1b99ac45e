"""Where the rate of a quote came from, in a few sentences for the payer."""

from decimal import Decimal

from django.utils.translation import gettext as _

from merchants.formatting import day_and_clock
from settlement.formats import day_plain, tenge
from settlement.rates.provenance import Provenance


def rate_notes(provenance: Provenance, *, language: str) -> list[str]:
    """What a page says of a rate beside its price; nothing of a fixed one without a spread."""
    notes: list[str] = []
    counted = sum(one.counts for one in provenance.sources)
    if counted:
        when = day_and_clock(provenance.observed_at)
        notes.append(
            _("Rate of %(time)s: the median of %(count)s exchanges.")
            % {"time": when, "count": counted}
        )
    if provenance.spread_bp:
        percent = f"{Decimal(provenance.spread_bp) / 100:f}"
        if not language.startswith("en"):
            percent = percent.replace(".", ",")
        notes.append(_("The operator's margin: %(percent)s %%.") % {"percent": percent})
    official = provenance.official
    if official is not None:
        amount = tenge(int((official.tenge * 100).to_integral_value()), language)
        notes.append(
            _("National Bank's rate of %(date)s: 1 %(currency)s = %(amount)s.")
            % {
                "date": day_plain(official.effective_on),
                "currency": official.currency,
                "amount": amount,
            }
        )
    return notes
