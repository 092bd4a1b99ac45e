"""The chart of accounts: which accounts exist, and on which side each one grows."""

from dataclasses import dataclass
from enum import StrEnum


class AccountKind(StrEnum):
    """Where an account stands in the balance sheet or the income statement."""

    ASSET = "asset"
    LIABILITY = "liability"
    INCOME = "income"
    EXPENSE = "expense"


@dataclass(frozen=True, slots=True)
class AccountCode:
    """One line of the chart; ``per_beneficiary`` lines have one account for each beneficiary."""

    code: str
    kind: AccountKind
    title: str
    per_beneficiary: bool = False


COINS_HELD = AccountCode("coins_held", AccountKind.ASSET, "Coins held, at their tenge cost")
MERCHANT_PAYABLE = AccountCode(
    "merchant_payable", AccountKind.LIABILITY, "Owed to merchants", per_beneficiary=True
)
UNSETTLED_RECEIPTS = AccountCode(
    "unsettled_receipts",
    AccountKind.LIABILITY,
    "Parts of unsettled invoices",
    per_beneficiary=True,
)
OVERPAYMENTS = AccountCode(
    "overpayments", AccountKind.LIABILITY, "Paid beyond the invoice", per_beneficiary=True
)
UNIDENTIFIED = AccountCode(
    "unidentified", AccountKind.LIABILITY, "Coins without a promised price", per_beneficiary=True
)
COINS_IN_TREASURY = AccountCode(
    "coins_in_treasury", AccountKind.ASSET, "Coins swept to the treasury, at their tenge cost"
)
GAS_RESERVE = AccountCode(
    "gas_reserve", AccountKind.ASSET, "Coins of the gas payer, less what it has spent"
)
NETWORK_GAS = AccountCode("network_gas", AccountKind.EXPENSE, "Network fees")
ROUNDING = AccountCode("rounding", AccountKind.INCOME, "Rounding of coin amounts")

CHART: tuple[AccountCode, ...] = (
    COINS_HELD,
    COINS_IN_TREASURY,
    GAS_RESERVE,
    MERCHANT_PAYABLE,
    UNSETTLED_RECEIPTS,
    OVERPAYMENTS,
    UNIDENTIFIED,
    NETWORK_GAS,
    ROUNDING,
)
