"""The ledger as text for people at a terminal."""

from settlement.formats import tenge_in_column
from settlement.ledger import TrialBalance


def render_trial_balance(balance: TrialBalance) -> str:
    """Return the trial balance as a table, in tenge, its difference on the last line."""
    lines = [f"{'Trial balance, ₸':44}{'debit':>16}{'credit':>16}", "-" * 76]
    lines += [
        f"{f'{row.title} {row.beneficiary[:8]}'.strip():44}"
        f"{_side(row.debit_tiyn):>16}{_side(row.credit_tiyn):>16}"
        for row in balance.rows
    ]
    lines += [
        "-" * 76,
        f"{'Total':44}{_side(balance.total_debit_tiyn):>16}{_side(balance.total_credit_tiyn):>16}",
        f"{'Difference':44}{tenge_in_column(balance.difference_tiyn, 'kk'):>32}",
    ]
    return "\n".join(lines)


def _side(amount_tiyn: int) -> str:
    return tenge_in_column(amount_tiyn, "kk") if amount_tiyn else ""
