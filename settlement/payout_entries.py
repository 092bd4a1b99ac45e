"""A payout's entries: on its way to the bank, confirmed by it, or returned.

A payout whose outcome nobody knows stays in ``payouts_in_transit`` until the bank's statement says
what became of it (R125).
"""

from datetime import datetime

from settlement.accounts import BANK_SETTLEMENT, MERCHANT_PAYABLE, PAYOUTS_IN_TRANSIT, AccountCode
from settlement.ledger import (
    Entry,
    InsufficientFundsError,
    SourceConflictError,
    amount_on,
    balance_of,
    lock_beneficiaries,
    moved,
    post_entries,
    steps_of,
)
from settlement.models import JournalEntry
from settlement.money import exact_int
from settlement.receivables import with_receivable


def book_payout(*, source: str, beneficiary: str, amount_tiyn: int, effective_at: datetime) -> bool:
    """Book that a payout is on its way: what the shop is owed falls, and is in transit.

    False if it was booked before, whatever became of it. Call it inside a transaction; locks the
    beneficiary. Raises InsufficientFundsError when the shop is owed less (R124),
    SourceConflictError when ``source`` was booked with other figures, ValueError, TypeError.
    """
    if exact_int(amount_tiyn, name="amount_tiyn") <= 0:
        raise ValueError("amount_tiyn must be positive")
    lock_beneficiaries([beneficiary])
    steps = steps_of(source)
    if steps:
        if _amount_tiyn(steps, source, beneficiary) != amount_tiyn:
            raise SourceConflictError(f"{source} was booked before with another amount")
        return False
    owed_tiyn = -balance_of(MERCHANT_PAYABLE, beneficiary=beneficiary)
    if owed_tiyn < amount_tiyn:
        raise InsufficientFundsError(f"{source}: {amount_tiyn} tiyn asked, {owed_tiyn} owed")
    _post(
        kind="payout",
        source=source,
        beneficiary=beneficiary,
        accounts=(MERCHANT_PAYABLE, PAYOUTS_IN_TRANSIT),
        amount_tiyn=amount_tiyn,
        effective_at=effective_at,
    )
    return True


def confirm_payout(*, source: str, beneficiary: str, effective_at: datetime) -> bool:
    """Book that the bank paid a payout; False if that was booked before.

    Call it inside a transaction. Raises SourceConflictError for a payout that was not booked for
    the beneficiary, or was returned.
    """
    lock_beneficiaries([beneficiary])
    steps = steps_of(source)
    amount_tiyn = _amount_tiyn(steps, source, beneficiary)
    if "payout_confirmed" in steps:
        return False
    if "payout_returned" in steps:
        raise SourceConflictError(f"{source} was returned")
    _post(
        kind="payout_confirmed",
        source=source,
        beneficiary=beneficiary,
        accounts=(PAYOUTS_IN_TRANSIT, BANK_SETTLEMENT),
        amount_tiyn=amount_tiyn,
        effective_at=effective_at,
    )
    return True


def return_payout(*, source: str, beneficiary: str, reason: str, effective_at: datetime) -> bool:
    """Book that a payout came back, or never left: the shop is owed it again, less its debt.

    What the bank had confirmed comes back to the bank account. False if it was booked before. Call
    it inside a transaction. Raises SourceConflictError for a payout that was not booked for the
    beneficiary.
    """
    lock_beneficiaries([beneficiary])
    steps = steps_of(source)
    amount_tiyn = _amount_tiyn(steps, source, beneficiary)
    if "payout_returned" in steps:
        return False
    back_from = BANK_SETTLEMENT if "payout_confirmed" in steps else PAYOUTS_IN_TRANSIT
    _post(
        kind="payout_returned",
        source=source,
        beneficiary=beneficiary,
        accounts=(back_from, MERCHANT_PAYABLE),
        amount_tiyn=amount_tiyn,
        effective_at=effective_at,
        reason=reason,
    )
    return True


def _amount_tiyn(steps: dict[str, JournalEntry], source: str, beneficiary: str) -> int:
    """What a payout was booked with; raises SourceConflictError where it was not."""
    payout = steps.get("payout")
    amount_tiyn = amount_on(payout, MERCHANT_PAYABLE, beneficiary=beneficiary) if payout else 0
    if not amount_tiyn:
        raise SourceConflictError(f"{source} is no payout of {beneficiary}")
    return amount_tiyn


def _post(
    *,
    kind: str,
    source: str,
    beneficiary: str,
    accounts: tuple[AccountCode, AccountCode],
    amount_tiyn: int,
    effective_at: datetime,
    reason: str = "",
) -> None:
    debit, credit = accounts
    entry = Entry(
        kind=kind,
        source=source if kind == "payout" else f"{source} {kind}",
        subject=source,
        lines=moved(debit=debit, credit=credit, amount_tiyn=amount_tiyn, beneficiary=beneficiary),
        effective_at=effective_at,
        memo=reason,
    )
    post_entries(with_receivable(entry, beneficiary=beneficiary))
