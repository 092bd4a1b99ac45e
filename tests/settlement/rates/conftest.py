"""A market on loopback that the settings name, with today's official rate published."""

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from pytest_django.fixtures import Settings

from settlement.calendar import ALMATY
from settlement.clock import database_now
from settlement.rates.feeds import configured_feeds
from settlement.rates.observing import due_sources, observe_source
from settlement.rates.rating import combine_rates
from tests.settlement.rates.market import Market, open_market


@pytest.fixture
def market(tmp_path: Path, settings: Settings, app_role: None) -> Iterator[Market]:
    with open_market() as running:
        path = tmp_path / "feeds.json"
        running.write_feeds(path)
        settings.RATES_FILE = str(path)
        settings.FIXED_RATES = {}
        settings.RATE_INTERVAL_S = 0
        settings.RATE_TIMEOUT_S = 2
        running.publish(day_of(0), "474.2")
        yield running


def day_of(days_ago: int) -> str:
    """A day in the city as the National Bank writes it."""
    return f"{database_now().astimezone(ALMATY) - timedelta(days=days_ago):%d.%m.%Y}"


def observe_all() -> None:
    """What the beat does: ask all who are due, then combine."""
    for source in due_sources():
        observe_source(source)
    combine_rates()


def names() -> list[str]:
    return [one.name for one in configured_feeds().exchanges]
