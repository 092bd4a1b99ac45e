"""Payout batches: prepared from what shops are owed, approved by a second official, or cancelled.

``payout_export`` writes a batch for the bank, ``payout_outcomes`` reads what became of it.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from enum import StrEnum
from typing import Final

from django.db import connection, transaction

from settlement.bank_files.orders import (
    OrdersRefusedError,
    Party,
    PaymentBatch,
    PaymentOrder,
    check_orders,
)
from settlement.calendar import PayoutSchedule, almaty_day, city_calendar, day_begins_at
from settlement.clock import database_now, today
from settlement.ledger import lock_beneficiaries
from settlement.models import (
    Payout,
    PayoutApproval,
    PayoutBatch,
    PayoutCancellation,
    PayoutHold,
    PayoutOutcome,
)
from settlement.payout_entries import book_payout, return_payout
from settlement.payout_models import OFFICIAL_CHARS_MAX
from settlement.payout_states import PayoutError, PayoutState, batch_states, held_among

DUE: Final = """
    WITH shop AS (
        SELECT id, beneficiary FROM settlement_account
        WHERE code = 'merchant_payable' AND beneficiary = ANY(%s)
    ), moved AS (
        SELECT p.account_id, -sum(p.amount_tiyn) AS tiyn
        FROM settlement_journalentry e JOIN settlement_posting p ON p.entry_id = e.id
        WHERE e.effective_at >= %s AND e.kind <> 'payout_returned'
          AND p.account_id IN (SELECT id FROM shop)
        GROUP BY p.account_id, coalesce(nullif(e.demand, ''), e.subject)
    )
    SELECT shop.beneficiary,
           -coalesce((SELECT p.balance_tiyn FROM settlement_posting p
                      WHERE p.account_id = shop.id ORDER BY p.id DESC LIMIT 1), 0)
           - coalesce((SELECT sum(tiyn) FROM moved
                       WHERE account_id = shop.id AND tiyn > 0), 0)
    FROM shop
"""
"""What each shop is owed now, less what the days that are not over brought: each demand of theirs
counts with what it brought in all, so a sale of today that was taken back today takes nothing."""


REASON_CHARS_MAX: Final = 200
"""The memo of a journal entry holds so many."""
SHOPS_MAX: Final = 1_000
"""Of one batch: each is locked until it is written, and the database has room for so many."""


class SkipReason(StrEnum):
    """Why a shop is not in a batch."""

    NOT_ITS_DAY = "not its day"
    HELD = "held"
    STANDING = "in a batch of the day already"
    NOTHING_DUE = "nothing is due"
    BELOW_MINIMUM = "below its minimum"
    REFUSED = "a bank would refuse it"


@dataclass(frozen=True, slots=True, kw_only=True)
class PayoutTerms:
    """How a shop is paid: to whom, with which code of purpose (KNP), when, and from what amount."""

    beneficiary: str
    payee: Party
    knp: str
    schedule: PayoutSchedule
    minimum_tiyn: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Skipped:
    """A shop that is not in the batch."""

    beneficiary: str
    reason: SkipReason
    why: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """A batch's number, or None where nobody is to be paid, and the shops that are not in it."""

    batch: int | None
    skipped: tuple[Skipped, ...]


@transaction.atomic
def prepare_batch(
    *, value_on: date, payer: Party, terms: Collection[PayoutTerms], prepared_by: str
) -> Prepared:
    """Take what is due to shops out of what they are owed, and freeze to whom it goes.

    Due is what settled up to the end of the last day that is over, in Almaty, by ``value_on``, a
    business day: today, or the next. Locks all the shops. Raises PayoutError, CalendarError.
    """
    official = checked_official(prepared_by)
    _check_value_day(value_on)
    by_name = {one.beneficiary: one for one in terms}
    if len(by_name) < len(terms):
        raise PayoutError("A shop stands twice among those to be paid.")
    if len(by_name) > SHOPS_MAX:
        raise PayoutError(f"A batch is prepared for {SHOPS_MAX} shops at most.")
    lock_beneficiaries(by_name)
    now = database_now()
    taken_before = day_begins_at(min(value_on, almaty_day(now)))
    skipped = _skipped_by_rule(by_name, value_on=value_on)
    wanted = [one for name, one in sorted(by_name.items()) if name not in skipped]
    due = _due_tiyn([one.beneficiary for one in wanted], taken_before=taken_before)
    payable: list[tuple[PayoutTerms, int]] = []
    for one in wanted:
        amount_tiyn = due.get(one.beneficiary, 0)
        skip = _fault(one, amount_tiyn, payer=payer, value_on=value_on, now=now)
        if skip is None:
            payable.append((one, amount_tiyn))
        else:
            skipped[one.beneficiary] = skip
    batch = None
    if payable:
        batch = _write_batch(
            payable,
            payer=payer,
            prepared_by=official,
            value_on=value_on,
            taken_before=taken_before,
        )
    return Prepared(
        batch=batch.pk if batch else None,
        skipped=tuple(skipped[name] for name in sorted(skipped)),
    )


@transaction.atomic
def approve_batch(*, batch: int, approved_by: str) -> None:
    """Let a batch go to the bank; another official than the one who prepared it says so.

    Raises PayoutError.
    """
    official = checked_official(approved_by)
    row = locked_batch(batch)
    require_state(row, PayoutState.PREPARED, verb="approved")
    if same_official(official, row.prepared_by):
        raise PayoutError(
            f"{row.reference} was prepared by {row.prepared_by}: a second official approves it."
        )
    require_payable_now(row)
    PayoutApproval.objects.create(batch=row, approved_by=official)


@transaction.atomic
def cancel_batch(*, batch: int, cancelled_by: str, reason: str) -> None:
    """Give back what a batch took that was not exported; raises PayoutError."""
    official, why = checked_official(cancelled_by), checked_reason(reason)
    row = locked_batch(batch)
    require_state(row, PayoutState.PREPARED, PayoutState.APPROVED, verb="cancelled")
    payouts = list(row.payouts.order_by("pk"))
    lock_beneficiaries([one.beneficiary for one in payouts])
    PayoutCancellation.objects.create(batch=row, cancelled_by=official, reason=why)
    now = database_now()
    for one in payouts:
        return_payout(source=one.source, beneficiary=one.beneficiary, reason=why, effective_at=now)


@transaction.atomic
def hold_payouts(*, beneficiary: str, is_held: bool, said_by: str, reason: str) -> None:
    """Pay a shop nothing more, or let it be paid again; raises PayoutError.

    A batch that it is in is neither approved nor exported while it is held.
    """
    official, why = checked_official(said_by), checked_reason(reason)
    lock_beneficiaries([beneficiary])
    PayoutHold.objects.create(
        beneficiary=beneficiary, is_held=is_held, reason=why, said_by=official
    )


def locked_batch(number: int) -> PayoutBatch:
    """A batch that nobody else decides about until the transaction ends; raises PayoutError."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT settlement_lock_batch(%s)", [number])
    row = PayoutBatch.objects.filter(pk=number).first()
    if row is None:
        raise PayoutError(f"There is no batch {number}.")
    return row


def require_state(batch: PayoutBatch, *states: PayoutState, verb: str) -> None:
    """Raise PayoutError unless a batch is in one of some states."""
    state = batch_states([batch.pk])[batch.pk]
    if state not in states:
        raise PayoutError(f"{batch.reference} is {state}: it cannot be {verb}.")


def require_payable_now(batch: PayoutBatch) -> None:
    """Raise PayoutError for a batch whose day has passed, or that pays a shop that is held."""
    if batch.value_on < today():
        raise PayoutError(
            f"{batch.reference} was for {batch.value_on}: cancel it and prepare another."
        )
    names = list(batch.payouts.values_list("beneficiary", flat=True))
    lock_beneficiaries(names)
    if held := held_among(names):
        shops = ", ".join(f"{name} ({why})" for name, why in sorted(held.items()))
        raise PayoutError(f"{batch.reference} pays shops that are held: {shops}. Cancel it.")


def checked_official(name: str) -> str:
    """An official's name without blanks around it; raises PayoutError for none, or too long."""
    if not 1 <= len(name.strip()) <= OFFICIAL_CHARS_MAX:
        raise PayoutError(f"Say who does it: a name of 1 to {OFFICIAL_CHARS_MAX} characters.")
    return name.strip()


def checked_reason(reason: str) -> str:
    """A reason without blanks around it; raises PayoutError for none, or too long."""
    if not 1 <= len(reason.strip()) <= REASON_CHARS_MAX:
        raise PayoutError(f"Say why: a reason of 1 to {REASON_CHARS_MAX} characters.")
    return reason.strip()


def same_official(one: str, other: str) -> bool:
    """Whether two names are one official's."""
    return one.strip().lower() == other.strip().lower()


def _check_value_day(value_on: date) -> None:
    calendar, now = city_calendar(), today()
    if not now <= value_on <= calendar.value_day_after(now):
        raise PayoutError(f"{value_on} is neither today nor the next business day.")
    if not calendar.is_business_day(value_on):
        raise PayoutError(f"{value_on} is no business day.")


def _skipped_by_rule(by_name: dict[str, PayoutTerms], *, value_on: date) -> dict[str, Skipped]:
    """Those who are not paid that day, whatever they are owed."""
    calendar = city_calendar()
    skipped = {
        name: Skipped(beneficiary=name, reason=SkipReason.NOT_ITS_DAY)
        for name, one in by_name.items()
        if calendar.payout_day(one.schedule, since=value_on) != value_on
    }
    standing = Payout.objects.filter(beneficiary__in=by_name, value_on=value_on).exclude(
        pk__in=_ended(value_on)
    )
    for payout in standing.select_related("batch"):
        skipped[payout.beneficiary] = Skipped(
            beneficiary=payout.beneficiary,
            reason=SkipReason.STANDING,
            why=payout.batch.reference,
        )
    for name, why in held_among(by_name).items():
        skipped[name] = Skipped(beneficiary=name, reason=SkipReason.HELD, why=why)
    return skipped


def _ended(value_on: date) -> list[int]:
    """The payouts of a value day that came to nothing."""
    rows = Payout.objects.filter(value_on=value_on)
    failed = (PayoutOutcome.Kind.RETURNED, PayoutOutcome.Kind.UNPAID)
    return [
        *rows.filter(batch__cancellation__isnull=False).values_list("pk", flat=True),
        *rows.filter(outcomes__kind__in=failed).values_list("pk", flat=True),
    ]


def _due_tiyn(beneficiaries: Sequence[str], *, taken_before: datetime) -> dict[str, int]:
    with connection.cursor() as cursor:
        cursor.execute(DUE, [list(beneficiaries), taken_before])
        return {name: int(tiyn) for name, tiyn in cursor.fetchall()}


def _fault(
    terms: PayoutTerms, amount_tiyn: int, *, payer: Party, value_on: date, now: datetime
) -> Skipped | None:
    """Why a shop is not paid an amount, if anything speaks against it.

    Raises PayoutError for a payer that no bank would take orders from.
    """
    name = terms.beneficiary
    if amount_tiyn <= 0:
        return Skipped(beneficiary=name, reason=SkipReason.NOTHING_DUE)
    if amount_tiyn < terms.minimum_tiyn:
        return Skipped(beneficiary=name, reason=SkipReason.BELOW_MINIMUM, why=f"{amount_tiyn} tiyn")
    order = PaymentOrder(
        number=1, payee=terms.payee, amount_tiyn=amount_tiyn, purpose="-", knp=terms.knp
    )
    try:
        check_orders(
            PaymentBatch(
                reference="-", payer=payer, created_at=now, value_on=value_on, orders=(order,)
            )
        )
    except OrdersRefusedError as error:
        if faults := [one for one in error.refusals if one.startswith("Payer:")]:
            raise PayoutError("; ".join(faults)) from error
        return Skipped(beneficiary=name, reason=SkipReason.REFUSED, why=str(error))
    return None


def _write_batch(
    payable: Sequence[tuple[PayoutTerms, int]],
    *,
    payer: Party,
    prepared_by: str,
    value_on: date,
    taken_before: datetime,
) -> PayoutBatch:
    batch = PayoutBatch.objects.create(
        value_on=value_on,
        taken_before=taken_before,
        payer_name=payer.name,
        payer_bin_or_iin=payer.bin_or_iin,
        payer_iban=payer.iban,
        payer_kbe=payer.kbe,
        prepared_by=prepared_by,
    )
    attempts: dict[str, int] = {}
    ended = Payout.objects.filter(pk__in=_ended(value_on))
    for name in ended.values_list("beneficiary", flat=True):
        attempts[name] = attempts.get(name, 0) + 1
    now = database_now()
    for terms, amount_tiyn in payable:
        payout = Payout.objects.create(
            batch=batch,
            beneficiary=terms.beneficiary,
            value_on=value_on,
            attempt=attempts.get(terms.beneficiary, 0),
            amount_tiyn=amount_tiyn,
            payee_name=terms.payee.name,
            payee_bin_or_iin=terms.payee.bin_or_iin,
            payee_iban=terms.payee.iban,
            payee_kbe=terms.payee.kbe,
            knp=terms.knp,
            purpose=f"Возмещение по реестру {batch.reference}",
        )
        book_payout(
            source=payout.source,
            beneficiary=terms.beneficiary,
            amount_tiyn=amount_tiyn,
            effective_at=now,
        )
    return batch
