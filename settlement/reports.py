"""The ledger as text for people at a terminal."""

from settlement.ledger import TrialBalance


def tenge(amount_tiyn: int) -> str:
    """Write an amount as ``1 234 567,50`` with no-break spaces; nothing for zero."""
    if amount_tiyn == 0:
        return ""
    whole, tiyn = divmod(abs(amount_tiyn), 100)
    sign = "-" if amount_tiyn < 0 else ""
    return f"{sign}{whole:,}".replace(",", "\u00a0") + f",{tiyn:02}"


def render_trial_balance(balance: TrialBalance) -> str:
    """Return the trial balance as a table, in tenge, its difference on the last line."""
    lines = [f"{'Trial balance, ₸':44}{'debit':>16}{'credit':>16}", "-" * 76]
    lines += [
        f"{f'{row.title} {row.beneficiary[:8]}'.strip():44}"
        f"{tenge(row.debit_tiyn):>16}{tenge(row.credit_tiyn):>16}"
        for row in balance.rows
    ]
    lines += [
        "-" * 76,
        f"{'Total':44}{tenge(balance.total_debit_tiyn):>16}{tenge(balance.total_credit_tiyn):>16}",
        f"{'Difference':44}{tenge(balance.difference_tiyn) or '0,00':>32}",
    ]
    return "\n".join(lines)
