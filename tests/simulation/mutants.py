"""Plant each bug of ``mutants/`` in a copy of the tree, and see whether the simulator catches it.

``python -m tests.simulation.mutants`` prints a table: the mutant, the seed that caught it, and the
invariant that broke. The exit status is 1 if any got away.
"""

import os
import re
import shutil
import subprocess
import sys
from argparse import ArgumentParser
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[2]
PATCHES: Final = Path(__file__).with_name("mutants")
COPIED: Final = ("alatau_pay", "chains", "merchants", "settlement", "tests")
SEEDS: Final = 1_000
CAUGHT: Final = re.compile(r"^seed (\d+): (.*)$", re.MULTILINE)
MALFORMED: Final = re.compile(r"NameError|ImportError|SyntaxError|AttributeError")
"""A mutant that fails so is a patch that was made badly, not a bug that was caught."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What became of one mutant; ``seed`` is None when nothing caught it."""

    name: str
    seed: int | None
    invariant: str

    @property
    def line(self) -> str:
        """Its row of the table."""
        seed = "got away" if self.seed is None else str(self.seed)
        return f"{self.name:40} {seed:>9}  {self.invariant[:100]}"


def patches() -> Sequence[Path]:
    """Every mutant, by name."""
    return sorted(PATCHES.glob("*.patch"))


def plant(patch: Path, folder: Path) -> Path:
    """Copy the tree into a folder, with the bug in it; raises CalledProcessError."""
    tree = folder / patch.stem
    for name in COPIED:
        shutil.copytree(ROOT / name, tree / name, ignore=shutil.ignore_patterns("__pycache__"))
    apply(patch, tree)
    return tree


def apply(patch: Path, tree: Path, *options: str) -> None:
    """Apply a patch to a tree that no repository needs to hold; raises CalledProcessError."""
    subprocess.run(
        ["git", "apply", "--unsafe-paths", f"--directory={tree}", *options, str(patch)],
        cwd="/",
        check=True,
        capture_output=True,
        text=True,
    )


def judge(patch: Path, seeds: int) -> Verdict:
    """Run seeds over the mutant until one catches it."""
    with TemporaryDirectory(prefix="alatau-mutant-") as folder:
        tree = plant(patch, Path(folder))
        command = [sys.executable, "-m", "tests.simulation", "--processes", "1"]
        done = subprocess.run(
            [*command, "--seeds", str(seeds), "--until-caught"],
            cwd=tree,
            capture_output=True,
            text=True,
            check=False,
        )
    caught = CAUGHT.search(done.stdout)
    if caught is None:
        # One that does not even start is no mutant: say so loudly.
        said = "" if done.returncode == 0 else f"does not run: {done.stderr.strip()[-200:]}"
        return Verdict(name=patch.stem, seed=None, invariant=said)
    if MALFORMED.search(caught[2]):
        return Verdict(name=patch.stem, seed=None, invariant=f"does not run: {caught[2]}")
    return Verdict(name=patch.stem, seed=int(caught[1]), invariant=caught[2])


def main() -> int:
    """Judge every mutant, or those that the command line names; return the exit status."""
    parser = ArgumentParser(prog="python -m tests.simulation.mutants", description=__doc__)
    parser.add_argument("names", nargs="*", help="these alone")
    parser.add_argument("--seeds", type=int, default=SEEDS, help="how many a mutant must outlive")
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1)
    options = parser.parse_args()
    chosen = [one for one in patches() if not options.names or one.stem in options.names]
    escaped = 0
    with ThreadPoolExecutor(options.processes) as judges:
        for verdict in judges.map(lambda patch: judge(patch, options.seeds), chosen):
            escaped += verdict.seed is None
            sys.stdout.write(f"{verdict.line}\n")
            sys.stdout.flush()
    sys.stdout.write(f"{len(chosen) - escaped} of {len(chosen)} caught\n")
    return 1 if escaped else 0


if __name__ == "__main__":
    sys.exit(main())
