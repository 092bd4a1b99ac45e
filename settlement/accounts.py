"""The chart of accounts: which accounts exist, and on which side each one grows."""

from dataclasses import dataclass
from enum import StrEnum


class AccountKind(StrEnum):
    """Where an account stands in the balance sheet or the income statement."""

    ASSET = "asset"
    LIABILITY = "liability"
    INCOME = "income"
    EXPENSE = "expense"
    OUTSIDE = "outside"
    """Quantities alone: the other side of coins that come from the chain or go to it."""


@dataclass(frozen=True, slots=True)
class AccountCode:
    """One line of the chart; ``per_beneficiary`` lines have one account for each beneficiary."""

    code: str
    kind: AccountKind
    title: str
    per_beneficiary: bool = False


COINS_HELD = AccountCode("coins_held", AccountKind.ASSET, "Coins held, at their tenge cost")
COINS_IN_TRANSIT = AccountCode(
    "coins_in_transit", AccountKind.ASSET, "Coins on their way to the treasury, at cost"
)
COINS_IN_TREASURY = AccountCode(
    "coins_in_treasury", AccountKind.ASSET, "Coins swept to the treasury, at their tenge cost"
)
GAS_RESERVE = AccountCode(
    "gas_reserve", AccountKind.ASSET, "Coins of the gas payer, less what it has spent"
)
TENGE_AT_EXCHANGE = AccountCode(
    "tenge_at_exchange", AccountKind.ASSET, "Tenge that an exchange holds for us"
)
BANK_SETTLEMENT = AccountCode(
    "bank_settlement", AccountKind.ASSET, "Tenge on the bank settlement account"
)
MERCHANT_RECEIVABLE = AccountCode(
    "merchant_receivable",
    AccountKind.ASSET,
    "Owed by merchants after a reversal",
    per_beneficiary=True,
)
MERCHANT_PAYABLE = AccountCode(
    "merchant_payable", AccountKind.LIABILITY, "Owed to merchants", per_beneficiary=True
)
PAYOUTS_IN_TRANSIT = AccountCode(
    "payouts_in_transit",
    AccountKind.LIABILITY,
    "Payouts that the bank has not confirmed",
    per_beneficiary=True,
)
REFUNDS_PAYABLE = AccountCode(
    "refunds_payable", AccountKind.LIABILITY, "Refunds approved, not yet sent", per_beneficiary=True
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
OPERATOR_FEE = AccountCode("operator_fee", AccountKind.INCOME, "The operator's fee")
ROUNDING = AccountCode("rounding", AccountKind.INCOME, "Rounding of coin amounts")
EXCHANGE_RESULT = AccountCode(
    "exchange_result", AccountKind.INCOME, "Realised exchange gain, less loss"
)
NETWORK_GAS = AccountCode("network_gas", AccountKind.EXPENSE, "Network fees")
EXCHANGE_FEES = AccountCode("exchange_fees", AccountKind.EXPENSE, "Commissions of exchanges")
COINS_OUTSIDE = AccountCode(
    "coins_outside", AccountKind.OUTSIDE, "Coins that came from the chain, by quantity"
)

CHART: tuple[AccountCode, ...] = (
    COINS_HELD,
    COINS_IN_TRANSIT,
    COINS_IN_TREASURY,
    GAS_RESERVE,
    TENGE_AT_EXCHANGE,
    BANK_SETTLEMENT,
    MERCHANT_RECEIVABLE,
    MERCHANT_PAYABLE,
    PAYOUTS_IN_TRANSIT,
    REFUNDS_PAYABLE,
    UNSETTLED_RECEIPTS,
    OVERPAYMENTS,
    UNIDENTIFIED,
    OPERATOR_FEE,
    ROUNDING,
    EXCHANGE_RESULT,
    NETWORK_GAS,
    EXCHANGE_FEES,
    COINS_OUTSIDE,
)
