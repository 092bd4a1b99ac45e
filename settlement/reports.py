"""The ledger as text for people at a terminal."""

from settlement.formats import tenge_in_column
from settlement.ledger import TrialBalance
from settlement.verifying import Verification


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


def render_verification(verification: Verification) -> str:
    """Return up to where the chain is sealed, and each row that is not as it was sealed."""
    if verification.sealed:
        end = f"entry {verification.entry_id} at {verification.sealed_at:%Y-%m-%d %H:%M:%S} UTC"
        lines = [
            f"Sealed: {verification.sealed} entries, up to {end}",
            f"Anchor: {verification.sealed}:{verification.chain_hash}",
        ]
    else:
        lines = ["Nothing is sealed."]
    if verification.waiting:
        lines.append(
            f"Waiting to be sealed: {verification.waiting} entries,"
            f" since {verification.waiting_since:%Y-%m-%d %H:%M:%S} UTC"
        )
    lines += [f"{finding.what.upper()}: {finding.row}" for finding in verification.findings]
    if not verification.findings:
        lines.append("Everything is as it was sealed.")
    return "\n".join(lines)


def _side(amount_tiyn: int) -> str:
    return tenge_in_column(amount_tiyn, "kk") if amount_tiyn else ""
