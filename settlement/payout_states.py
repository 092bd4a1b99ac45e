"""What stands of payouts and their batches: read from the facts about them, never stored.

    prepared -> approved -> exported -> paid -> returned
        |          |            |
        +----------+-> cancelled+-> unpaid

``exported`` is the state of not knowing: the bank may have paid (R125).
"""

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import date, datetime
from enum import StrEnum
from typing import Final

from settlement.models import (
    Payout,
    PayoutApproval,
    PayoutBatch,
    PayoutCancellation,
    PayoutExport,
    PayoutHold,
    PayoutOutcome,
)


class PayoutState(StrEnum):
    """How far a payout, or a whole batch, is."""

    PREPARED = "prepared"
    APPROVED = "approved"
    CANCELLED = "cancelled"
    EXPORTED = "exported"
    PAID = "paid"
    RETURNED = "returned"
    UNPAID = "unpaid"


EDGES: Final = {
    PayoutState.PREPARED: {PayoutState.APPROVED, PayoutState.CANCELLED},
    PayoutState.APPROVED: {PayoutState.EXPORTED, PayoutState.CANCELLED},
    PayoutState.EXPORTED: {PayoutState.PAID, PayoutState.UNPAID},
    PayoutState.PAID: {PayoutState.RETURNED},
    PayoutState.CANCELLED: set(),
    PayoutState.RETURNED: set(),
    PayoutState.UNPAID: set(),
}


class PayoutError(Exception):
    """A step that a payout or its batch does not allow now; says what to do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PayoutFact:
    """A payout as people see it; ``number`` is that of its payment order."""

    number: int
    batch: int
    beneficiary: str
    value_on: date
    amount_tiyn: int
    payee_name: str
    payee_iban: str
    state: PayoutState


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchFact:
    """A batch as people see it."""

    number: int
    reference: str
    value_on: date
    state: PayoutState
    prepared_by: str
    prepared_at: datetime
    payouts: tuple[PayoutFact, ...]

    @property
    def total_tiyn(self) -> int:
        """What all its payouts come to."""
        return sum(one.amount_tiyn for one in self.payouts)


def payouts_of(*, beneficiary: str, limit: int = 100) -> list[PayoutFact]:
    """A shop's newest payouts."""
    return _facts(Payout.objects.filter(beneficiary=beneficiary).order_by("-pk")[:limit])


def payouts_unknown() -> list[PayoutFact]:
    """Payouts that the bank was told to pay, and of which no statement speaks yet."""
    return _facts(Payout.objects.filter(outcomes=None, batch__export__isnull=False).order_by("pk"))


def payout_fact(number: int) -> PayoutFact:
    """One payout; raises PayoutError where there is none."""
    found = _facts(Payout.objects.filter(pk=number))
    if not found:
        raise PayoutError(f"There is no payout {number}.")
    return found[0]


def batch_facts(*, number: int | None = None, limit: int = 50) -> list[BatchFact]:
    """The newest batches, or the one with a number, with all their payouts."""
    rows = PayoutBatch.objects.order_by("-pk")
    if number is not None:
        rows = rows.filter(pk=number)
    batches = list(rows[:limit])
    payouts: dict[int, list[PayoutFact]] = {batch.pk: [] for batch in batches}
    for fact in _facts(Payout.objects.filter(batch__in=batches).order_by("pk")):
        payouts[fact.batch].append(fact)
    states = batch_states([batch.pk for batch in batches])
    return [
        BatchFact(
            number=batch.pk,
            reference=batch.reference,
            value_on=batch.value_on,
            state=states[batch.pk],
            prepared_by=batch.prepared_by,
            prepared_at=batch.prepared_at,
            payouts=tuple(payouts[batch.pk]),
        )
        for batch in batches
    ]


def batches_on(value_on: date) -> int:
    """How many batches of a value day there are, cancelled ones too."""
    return PayoutBatch.objects.filter(value_on=value_on).count()


def batch_states(numbers: Collection[int]) -> dict[int, PayoutState]:
    """How far some batches are: prepared, approved, cancelled or exported."""
    states = dict.fromkeys(numbers, PayoutState.PREPARED)
    for facts, state in (
        (PayoutApproval.objects, PayoutState.APPROVED),
        (PayoutExport.objects, PayoutState.EXPORTED),
        (PayoutCancellation.objects, PayoutState.CANCELLED),
    ):
        found = facts.filter(batch__in=numbers).values_list("batch_id", flat=True)
        states.update(dict.fromkeys(found, state))
    return states


def held_among(beneficiaries: Collection[str]) -> dict[str, str]:
    """Which shops are not to be paid now, and why."""
    newest = PayoutHold.objects.filter(beneficiary__in=beneficiaries).order_by("pk")
    said = {one.beneficiary: one for one in newest}
    return {name: one.reason for name, one in said.items() if one.is_held}


def _facts(rows: Iterable[Payout]) -> list[PayoutFact]:
    payouts = list(rows)
    states = batch_states({row.batch_id for row in payouts})
    kinds: dict[int, set[str]] = {row.pk: set() for row in payouts}
    outcomes = PayoutOutcome.objects.filter(payout__in=payouts)
    for number, kind in outcomes.values_list("payout_id", "kind"):
        kinds[number].add(kind)
    return [
        PayoutFact(
            number=row.pk,
            batch=row.batch_id,
            beneficiary=row.beneficiary,
            value_on=row.value_on,
            amount_tiyn=row.amount_tiyn,
            payee_name=row.payee_name,
            payee_iban=row.payee_iban,
            state=_last(kinds[row.pk], before=states[row.batch_id]),
        )
        for row in payouts
    ]


def _last(kinds: set[str], *, before: PayoutState) -> PayoutState:
    """The state that a payout's outcomes come to; that of its batch where there is none."""
    for state in (PayoutState.RETURNED, PayoutState.UNPAID, PayoutState.PAID):
        if state in kinds:
            return state
    return before
