"""What a shop owes: an amount that the chain took back after it was paid out (R128)."""

from collections.abc import Sequence

from settlement.accounts import MERCHANT_PAYABLE, MERCHANT_RECEIVABLE
from settlement.ledger import Entry, balance_of, moved


def with_receivable(entry: Entry, *, beneficiary: str) -> Sequence[Entry]:
    """The entry, and beside it what keeps the shop's payable at nothing or more; pure reading.

    Before an entry that takes more than the shop is owed, the rest becomes its debt. After one that
    brings something, a debt is paid off first. Call it under the beneficiary's lock, and post all
    at once.
    """
    taken_tiyn = sum(
        line.amount_tiyn for line in entry.lines if line.account.code == MERCHANT_PAYABLE.code
    )
    if not taken_tiyn:
        return [entry]
    owed_tiyn = -balance_of(MERCHANT_PAYABLE, beneficiary=beneficiary)
    if taken_tiyn > owed_tiyn:
        return [_debt(entry, beneficiary, taken_tiyn - max(owed_tiyn, 0)), entry]
    debt_tiyn = balance_of(MERCHANT_RECEIVABLE, beneficiary=beneficiary)
    paid_off_tiyn = min(debt_tiyn, owed_tiyn - taken_tiyn)
    if taken_tiyn < 0 and paid_off_tiyn:
        return [entry, _debt(entry, beneficiary, -paid_off_tiyn)]
    return [entry]


def _debt(cause: Entry, beneficiary: str, debt_tiyn: int) -> Entry:
    """The entry by which a shop's debt grows, or shrinks, and its payable with it."""
    kind = "debt" if debt_tiyn > 0 else "debt_paid"
    return Entry(
        kind=kind,
        source=f"{cause.source} {kind}",
        # It belongs to the shop, and to none of its demands.
        subject=f"debt of {beneficiary}",
        lines=moved(
            debit=MERCHANT_RECEIVABLE,
            credit=MERCHANT_PAYABLE,
            amount_tiyn=debt_tiyn,
            beneficiary=beneficiary,
        ),
        effective_at=cause.effective_at,
    )
