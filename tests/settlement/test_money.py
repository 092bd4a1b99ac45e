"""Amounts and prices: integers, rounded in one place and in a stated party's favour."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chains.assets import Asset
from settlement import money
from settlement.money import payable_step, quantity_rounded_up
from settlement.rates.sources import FixedSource, RateUnavailableError
from tests.settlement.demand import BTC


@pytest.mark.case("R67")
@pytest.mark.parametrize("price", ["NaN", "0", "-1", "Infinity"])
def test_a_price_that_is_none_is_refused(price: str) -> None:
    with pytest.raises(RateUnavailableError, match="BTC"):
        FixedSource({"BTC": Decimal(price)}).price_of(BTC)


@given(
    amount_tiyn=st.integers(1, 10**15),
    price_tiyn=st.decimals("0.0001", 10**13, places=6),
    decimals=st.sampled_from([6, 8, 18]),
)
def test_a_quote_is_worth_its_amount_and_one_step_less_is_not(
    amount_tiyn: int, price_tiyn: Decimal, decimals: int
) -> None:
    quantity = quantity_rounded_up(
        amount_tiyn=amount_tiyn, price_tiyn=price_tiyn, decimals=decimals
    )
    step = payable_step(decimals=decimals)
    worth = money.worth_exact(quantity=quantity, price_tiyn=price_tiyn, decimals=decimals)
    less = money.worth_exact(quantity=quantity - step, price_tiyn=price_tiyn, decimals=decimals)
    assert less < amount_tiyn <= worth
    assert quantity % step == 0


@pytest.mark.parametrize("decimals", [0, 6, 8, 18])
def test_a_payable_step_is_the_last_digit_that_a_payer_is_asked_for(decimals: int) -> None:
    asset = Asset(caip19="eip155:1/erc20:0x0", symbol="X", name="X", decimals=decimals)
    assert payable_step(decimals=decimals) == 10 ** (decimals - asset.payable_decimals)
    assert asset.payable_decimals <= 8
