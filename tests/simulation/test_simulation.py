"""Seeds hold every invariant, a seed always does the same, and every mutant still applies."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from django.db.backends.base.base import BaseDatabaseWrapper
from pytest_django.fixtures import Settings

from tests.simulation import mutants
from tests.simulation.city import write_registry
from tests.simulation.database import connected, wipe
from tests.simulation.seeds import run_seed

SEEDS = 200
TOGETHER = 10


@pytest.fixture
def connections(
    committed: None, tmp_path: Path, settings: Settings
) -> Iterator[Sequence[BaseDatabaseWrapper]]:
    """The connections of a simulated city; every row is gone afterwards."""
    path = tmp_path / "networks.json"
    write_registry(path)
    settings.NETWORKS_FILE = str(path)
    with connected() as made:
        yield made
        wipe(made[0])


@pytest.mark.case("R113")
@pytest.mark.parametrize("first", range(0, SEEDS, TOGETHER))
def test_every_seed_holds_every_invariant(
    first: int, connections: Sequence[BaseDatabaseWrapper]
) -> None:
    for seed in range(first, first + TOGETHER):
        outcome = run_seed(seed, connections)
        again = f"python -m tests.simulation --seed {seed} --trace"
        assert not outcome.violation, "\n".join([*outcome.trace, outcome.violation, again])


@pytest.mark.parametrize("seed", [3, 1_000_003])
def test_a_seed_replays_exactly(seed: int, connections: Sequence[BaseDatabaseWrapper]) -> None:
    first, second = run_seed(seed, connections), run_seed(seed, connections)
    assert first.trace == second.trace
    assert first.digest == second.digest


@pytest.mark.parametrize("patch", mutants.patches(), ids=lambda patch: patch.stem)
def test_every_mutant_still_applies(patch: Path) -> None:
    """A bug that cannot be planted any more proves nothing: make its patch anew."""
    mutants.apply(patch, mutants.ROOT, "--check")


def test_there_are_enough_mutants() -> None:
    assert len(mutants.patches()) >= 20
