"""The operator's fee: a part of what a demand brings its shop."""

from datetime import datetime

from django.db.models import Sum

from settlement.accounts import MERCHANT_PAYABLE, OPERATOR_FEE
from settlement.ledger import Entry, lock_beneficiaries, moved, post_entries
from settlement.models import JournalEntry, Posting
from settlement.money import exact_int, split
from settlement.receivables import with_receivable

BASIS_POINTS = 10_000


def charge_fee(
    *,
    demand: str,
    beneficiary: str,
    payable_tiyn: int,
    fee_basis_points: int,
    effective_at: datetime,
) -> int:
    """Post what the ledger lacks of the fee on ``payable_tiyn``, and return the whole fee in tiyn.

    Call it after ``allocate``, with what that says is payable: when the chain takes the payment
    back, the fee goes back with it. Fee and net always sum to the whole (R123). Raises ValueError,
    TypeError, LedgerError.
    """
    if not 0 <= exact_int(fee_basis_points, name="fee_basis_points") <= BASIS_POINTS:
        raise ValueError("fee_basis_points must be between 0 and 10000")
    lock_beneficiaries([beneficiary])
    weights = [BASIS_POINTS - fee_basis_points, fee_basis_points]
    _net_tiyn, fee_tiyn = split(amount_tiyn=payable_tiyn, weights=weights)
    missing_tiyn = fee_tiyn - _charged_tiyn(demand)
    if missing_tiyn:
        number = JournalEntry.objects.filter(demand=demand, kind="fee").count() + 1
        entry = Entry(
            kind="fee",
            source=f"{demand} fee {number}",
            subject=f"{demand} fee",
            demand=demand,
            lines=moved(
                debit=MERCHANT_PAYABLE,
                credit=OPERATOR_FEE,
                amount_tiyn=missing_tiyn,
                beneficiary=beneficiary,
            ),
            effective_at=effective_at,
        )
        post_entries(with_receivable(entry, beneficiary=beneficiary))
    return fee_tiyn


def _charged_tiyn(demand: str) -> int:
    rows = Posting.objects.filter(entry__demand=demand, account__code=OPERATOR_FEE.code)
    return -int(rows.aggregate(total=Sum("amount_tiyn"))["total"] or 0)
