"""A city for all journeys of one test process."""

import os
from collections.abc import Iterator

import pytest

from alatau_pay.devnet.city import City, city_in


@pytest.fixture(scope="session")
def city(tmp_path_factory: pytest.TempPathFactory) -> Iterator[City]:
    """A city with engines of its own, as in the demo."""
    given = {key: os.environ.pop(key) for key in ("DATABASE_URL", "REDIS_URL")}
    try:
        with city_in(tmp_path_factory.mktemp("c")) as running:
            os.environ.update(given)
            yield running
    finally:
        os.environ.update(given)
