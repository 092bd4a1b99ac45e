"""One price of many: properties of the pure combination."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from settlement.rates.breakers import Breaker, BreakerLimits, BreakerState, breaker_of
from settlement.rates.combining import Candidate, Combined, Limits, Refusal, combine, is_near
from settlement.rates.observations import Attempt, OfficialRate, Seen
from settlement.rates.routes import (
    Leg,
    combine_asset,
    combine_tether,
    is_fresh,
    official_leg,
)

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)
LIMITS = Limits(sources_min=3, outlier_bp_max=200, jump_bp_max=1000)
PRICES = st.fractions("1/1000", 10**9, max_denominator=10**6)
NEAR = st.lists(st.integers(-90, 90), min_size=3, max_size=9)
"""Hundredths of a percent around a true price: any two are within the bound for outliers."""


def seen(source: object, pair: str, price: Fraction | str, *, age_s: int = 0) -> Seen:
    return Seen(
        source=str(source),
        pair=pair,
        price=Decimal(price) if isinstance(price, str) else Decimal(1),
        observed_at=NOW - timedelta(seconds=age_s),
        fetched_at=NOW,
    )


def candidates(prices: list[Fraction]) -> list[Candidate]:
    return [
        Candidate(price=price, seen=seen(n, "BTC/USDT", price)) for n, price in enumerate(prices)
    ]


def around(true: Fraction, steps_bp: list[int]) -> list[Fraction]:
    return [true * (10_000 + step) / 10_000 for step in steps_bp]


def told(prices: list[Fraction], last_good: Fraction | None = None) -> Combined:
    return combine(candidates(prices), limits=LIMITS, last_good=last_good)


@given(true=PRICES, steps_bp=NEAR)
def test_sources_that_agree_make_a_price_among_theirs(true: Fraction, steps_bp: list[int]) -> None:
    prices = around(true, steps_bp)
    combined = told(prices)
    assert combined.refusal is None
    assert combined.price is not None
    assert min(prices) <= combined.price <= max(prices)
    assert len(combined.used) == len(prices)


@given(true=PRICES, steps_bp=NEAR, data=st.data())
def test_the_order_of_sources_does_not_matter(
    true: Fraction, steps_bp: list[int], data: st.DataObject
) -> None:
    prices = around(true, steps_bp)
    assert told(prices).price == told(data.draw(st.permutations(prices))).price


@pytest.mark.case("R67")
@given(
    true=PRICES,
    steps_bp=NEAR,
    lies=st.lists(st.sampled_from(["10", "1/10", "1/1000", "1000", "3", "1/2"]), max_size=8),
)
def test_fewer_liars_than_honest_sources_move_nothing_beyond_the_honest(
    true: Fraction, steps_bp: list[int], lies: list[str]
) -> None:
    honest = around(true, steps_bp)
    assume(len(lies) < len(honest))
    combined = told(honest + [true * Fraction(lie) for lie in lies])
    if combined.price is not None:
        assert min(honest) <= combined.price <= max(honest)
    for one in combined.used if combined.price else ():
        assert one.price in honest


@pytest.mark.case("R67")
@given(true=PRICES, steps_bp=NEAR)
def test_one_liar_among_four_or_more_is_left_out(true: Fraction, steps_bp: list[int]) -> None:
    honest = around(true, steps_bp)
    combined = told([*honest, true * 10])
    assert combined.price is not None
    assert [one.price for one in combined.left_out] == [true * 10]


@pytest.mark.case("R67")
@given(prices=st.lists(PRICES, max_size=2))
def test_fewer_than_three_make_no_price(prices: list[Fraction]) -> None:
    combined = told(prices)
    assert combined.price is None
    assert combined.refusal in {Refusal.TOO_FEW, Refusal.DISAGREEMENT}


@pytest.mark.case("R67")
@given(prices=st.lists(PRICES, max_size=9), last_good=st.none() | PRICES)
def test_a_price_has_a_majority_of_three_or_more_and_no_jump(
    prices: list[Fraction], last_good: Fraction | None
) -> None:
    combined = told(prices, last_good)
    assert (combined.price is None) is (combined.refusal is not None)
    assert len(combined.used) + len(combined.left_out) == len(prices)
    if combined.price is not None:
        assert len(combined.used) >= 3
        assert 2 * len(combined.used) > len(prices)
        assert last_good is None or is_near(combined.price, last_good, LIMITS.jump_bp_max)


@pytest.mark.case("R67")
@pytest.mark.parametrize("factor", ["10", "1/10", "1.11", "0.9"])
def test_sources_that_agree_on_a_jump_are_refused(factor: str) -> None:
    prices = around(Fraction(95_000) * Fraction(factor), [0, 1, -1, 2])
    assert told(prices, Fraction(95_000)).refusal is Refusal.JUMP
    assert told(prices).refusal is None


def test_two_camps_are_a_disagreement() -> None:
    one, other = Fraction(100), Fraction(1000)
    assert told([one, one, other, other]).refusal is Refusal.DISAGREEMENT


def test_two_of_three_are_too_few_but_no_disagreement() -> None:
    assert told([Fraction(100), Fraction(100), Fraction(1000)]).refusal is Refusal.TOO_FEW


def test_a_source_has_one_vote_and_prices_are_above_zero() -> None:
    twice = candidates([Fraction(1), Fraction(1)])[:1] * 2
    with pytest.raises(ValueError, match="two votes"):
        combine(twice, limits=LIMITS, last_good=None)
    with pytest.raises(ValueError, match="above zero"):
        told([Fraction(0)])


DOLLAR = Leg(pair="USD/KZT", price=Fraction("474.2"))
TETHER = Leg(pair="USDT/USD", price=Fraction("0.92"))
NO_TETHER = Leg(pair="USDT/USD", price=None, refusal=Refusal.DISAGREEMENT)


def asset(
    symbol: str, fresh: list[Seen], *, tether: Leg = TETHER, dollar: Leg = DOLLAR
) -> Combined:
    return combine_asset(
        symbol, fresh=fresh, dollar=dollar, tether=tether, limits=LIMITS, last_good=None
    )


@pytest.mark.case("R68")
def test_a_coin_that_is_priced_in_usdt_is_worth_what_usdt_is() -> None:
    fresh = [seen(name, "BTC/USDT", "95000") for name in "abc"]
    assert asset("BTC", fresh).price == Fraction(95_000) * Fraction("0.92") * Fraction("474.2")


@pytest.mark.case("R68")
def test_usdt_that_lost_its_peg_is_worth_less() -> None:
    fresh = [seen(name, "USDT/USD", "0.92") for name in "abc"]
    measured = combine_tether(fresh, limits=LIMITS, last_good=None)
    assert measured.price == Fraction("0.92")
    assert asset("USDT", fresh).price == Fraction("0.92") * Fraction("474.2")


@pytest.mark.case("R68")
def test_nothing_stands_in_for_a_stablecoin_that_nobody_measures() -> None:
    unmeasured = Leg(pair="USDT/USD", price=None, refusal=Refusal.TOO_FEW)
    fresh = [seen(name, "USDC/USDT", "1.0001") for name in "abc"]
    assert asset("USDC", fresh, tether=unmeasured).refusal is Refusal.TOO_FEW
    assert asset("USDT", [], tether=unmeasured).price is None


def test_each_source_votes_once_by_its_shortest_way() -> None:
    fresh = [
        seen("a", "BTC/KZT", "45000000"),
        seen("a", "BTC/USD", "1"),
        seen("b", "BTC/USD", "94900"),
        seen("b", "BTC/USDT", "1"),
        seen("c", "BTC/USDT", "103152"),
        seen("d", "ETH/USD", "3200"),
    ]
    combined = asset("BTC", fresh)
    assert [one.seen.source for one in combined.used] == ["a", "b", "c"]
    assert combined.price == Fraction("103152") * Fraction("0.92") * Fraction("474.2")


def test_a_refused_leg_says_why() -> None:
    fresh = [seen(name, "BTC/USDT", "95000") for name in "abc"]
    assert asset("BTC", fresh, tether=NO_TETHER).refusal is Refusal.DISAGREEMENT
    nothing = official_leg([], jump_bp_max=1000)
    assert asset("BTC", fresh, dollar=nothing).refusal is Refusal.NO_OFFICIAL_RATE
    # Where enough others need no USDT, its trouble is not theirs.
    fresh += [seen(name, "BTC/USD", "95000") for name in "def"]
    assert asset("BTC", fresh, tether=NO_TETHER).price is not None


@pytest.mark.case("R69")
@pytest.mark.parametrize(
    ("tenges", "refusal"),
    [
        ([], Refusal.NO_OFFICIAL_RATE),
        (["474.2"], None),
        (["474.2", "470"], None),
        (["4742", "474.2"], Refusal.OFFICIAL_JUMP),
        (["0.0021", "474.2"], Refusal.OFFICIAL_JUMP),
    ],
)
def test_the_official_rate_is_bounded_by_the_day_before(
    tenges: list[str], refusal: Refusal | None
) -> None:
    rates = [
        OfficialRate(
            currency="USD",
            tenge=Decimal(one),
            effective_on=NOW.date(),
            fetched_at=NOW,
            document_id=number,
        )
        for number, one in enumerate(tenges)
    ]
    leg = official_leg(rates, jump_bp_max=1000)
    assert leg.refusal is refusal
    assert (leg.price is None) is (refusal is not None)


@pytest.mark.case("R67")
@pytest.mark.parametrize(
    ("age_s", "fresh"), [(0, True), (120, True), (121, False), (-60, True), (-61, False)]
)
def test_what_is_stale_or_from_the_future_is_not_fresh(age_s: int, fresh: bool) -> None:
    one = seen("a", "BTC/USDT", "1", age_s=age_s)
    assert is_fresh(one, now=NOW, age_s_max=120) is fresh


BREAKER = BreakerLimits(failures=3, pause_s=60)


def state(words: str, *, after_s: int = 0, retry_s: int | None = None) -> Breaker:
    """The breaker after attempts a minute apart, oldest first: ``+`` worked, ``-`` failed."""
    attempts = [
        Attempt(
            tried_at=NOW - timedelta(minutes=number),
            is_usable=word == "+",
            error="",
            retry_at=NOW + timedelta(seconds=retry_s)
            if retry_s is not None and number == 0
            else None,
        )
        for number, word in enumerate(reversed(words))
    ]
    return breaker_of(attempts=attempts, limits=BREAKER, now=NOW + timedelta(seconds=after_s))


@pytest.mark.parametrize(
    ("words", "after_s", "expected"),
    [
        ("", 0, BreakerState.CLOSED),
        ("+--", 0, BreakerState.CLOSED),
        ("+---", 0, BreakerState.OPEN),
        ("+---", 59, BreakerState.OPEN),
        ("+---", 60, BreakerState.HALF_OPEN),
        ("+----", 60, BreakerState.OPEN),
        ("+----", 120, BreakerState.HALF_OPEN),
        ("-" * 32, 959, BreakerState.OPEN),
        ("-" * 32, 960, BreakerState.HALF_OPEN),
        ("---+", 0, BreakerState.CLOSED),
        ("---+--", 0, BreakerState.CLOSED),
    ],
)
def test_a_breaker_opens_after_three_failures_and_pauses_longer_each_time(
    words: str, after_s: int, expected: BreakerState
) -> None:
    assert state(words, after_s=after_s).state is expected


def test_a_source_that_asks_for_a_pause_gets_it() -> None:
    assert state("+-", retry_s=300, after_s=299).state is BreakerState.OPEN
    assert state("+-", retry_s=300, after_s=300).state is BreakerState.CLOSED
    assert state("---", retry_s=300, after_s=120).state is BreakerState.OPEN
    assert state("---", retry_s=300, after_s=300).state is BreakerState.HALF_OPEN


@given(words=st.text("+-", max_size=40), after_s=st.integers(0, 3000))
def test_a_breaker_is_open_only_for_failures_and_never_for_ever(words: str, after_s: int) -> None:
    breaker = state(words, after_s=after_s)
    if breaker.state is not BreakerState.CLOSED:
        assert words.endswith("---")
    if after_s >= 16 * 60:
        assert breaker.state is not BreakerState.OPEN
