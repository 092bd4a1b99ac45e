"""Find or fetch the two nodes' programs, in a private folder; nothing of the host changes."""

import fcntl
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from alatau_pay.engines import REPOSITORY

NPM_FOLDER: Final = REPOSITORY / "tools"
FETCH_S_MAX: Final = 300


class ToolMissingError(RuntimeError):
    """A program cannot be had; the message says which setting names it."""


def bitcoind_command() -> list[str]:
    """The command that starts bitcoind: BITCOIND, PATH, or Debian's package in a private folder."""
    named = os.environ.get("BITCOIND") or shutil.which("bitcoind")
    if named:
        return [_existing(named, "BITCOIND")]
    root = _cache() / "bitcoin"
    with _locked("bitcoin"):
        if not (root / "complete").exists():
            _fetch_bitcoind(root)
    loader = next(root.rglob("ld-linux-*.so.*"))
    library_path = ":".join(
        str(folder) for folder in {path.parent for path in root.rglob("*.so.*")}
    )
    return [str(loader), "--library-path", library_path, str(root / "usr/bin/bitcoind")]


def anvil_command() -> list[str]:
    """The command that starts anvil: ANVIL, PATH, or the npm package that carries the binary."""
    named = os.environ.get("ANVIL") or shutil.which("anvil")
    if named:
        return [_existing(named, "ANVIL")]
    packages = NPM_FOLDER / "node_modules/@foundry-rs"
    with _locked("anvil"):
        if not list(packages.glob("anvil-*/bin/anvil")):
            npm = shutil.which("npm")
            if npm is None:
                raise ToolMissingError("anvil needs npm, or set ANVIL=/path/to/anvil.")
            # Not `npm ci`: it refuses a lock without the other platforms' optional packages.
            _run(
                [npm, "install", "--no-save", "--ignore-scripts", "--no-audit", "--no-fund"],
                "ANVIL",
                cwd=NPM_FOLDER,
            )
    found = list(packages.glob("anvil-*/bin/anvil"))
    if not found:
        raise ToolMissingError("npm has no anvil for this machine: set ANVIL=/path/to/anvil.")
    return [str(found[0])]


def _fetch_bitcoind(root: Path) -> None:
    if shutil.which("apt-get") is None or shutil.which("dpkg-deb") is None:
        raise ToolMissingError(
            "There is no bitcoind: install it and set BITCOIND=/path/to/bitcoind."
        )
    shutil.rmtree(root, ignore_errors=True)
    for folder in ("apt/lists/partial", "apt/archives/partial", "apt/empty", "apt/debs"):
        (root / folder).mkdir(parents=True)
    apt = root / "apt"
    (apt / "status").touch()
    keyring = "/usr/share/keyrings/debian-archive-keyring.gpg"
    (apt / "sources.list").write_text(f"deb [signed-by={keyring}] {_mirror()} unstable main\n")
    (apt / "apt.conf").write_text(
        f'Dir::Etc::sourcelist "{apt}/sources.list";\nDir::Etc::sourceparts "{apt}/empty";\n'
        f'Dir::Etc::preferences "{apt}/none";\nDir::Etc::preferencesparts "{apt}/empty";\n'
        f'Dir::State "{apt}";\nDir::State::lists "{apt}/lists";\n'
        f'Dir::State::status "{apt}/status";\n'
        f'Dir::Cache "{apt}";\nDir::Cache::archives "{apt}/archives";\n'
        'APT::Sandbox::User "";\nAcquire::Languages "none";\n'
    )
    environment = os.environ | {"APT_CONFIG": str(apt / "apt.conf")}
    _run(["apt-get", "-qq", "update"], "BITCOIND", env=environment)
    options = ["recommends", "suggests", "conflicts", "breaks", "replaces", "enhances"]
    depends = ["apt-cache", "depends", "--important", *(f"--no-{word}" for word in options)]
    direct = _libraries(_run([*depends, "bitcoin-knots"], "BITCOIND", env=environment))
    every = _libraries(_run([*depends, "--recurse", *direct], "BITCOIND", env=environment))
    packages = ["bitcoin-knots", *sorted(direct | every)]
    _run(["apt-get", "-qq", "download", *packages], "BITCOIND", env=environment, cwd=apt / "debs")
    for package in sorted((apt / "debs").glob("*.deb")):
        _run(["dpkg-deb", "--extract", str(package), str(root)], "BITCOIND")
    shutil.rmtree(apt)
    (root / "complete").touch()


def _libraries(listing: str) -> set[str]:
    words = {word for line in listing.splitlines() for word in line.split()}
    return {
        word
        for word in words
        if (word.startswith("lib") or word == "zlib1g") and "gconv" not in word and ":" not in word
    }


def _mirror() -> str:
    """The Debian mirror that this host itself uses."""
    listing = _run(["apt-get", "indextargets", "--format", "$(REPO_URI)"], "BITCOIND")
    mirrors = [
        uri.rstrip("/") for uri in listing.splitlines() if uri.rstrip("/").endswith("/debian")
    ]
    if not mirrors:
        raise ToolMissingError("This host names no Debian mirror: set BITCOIND=/path/to/bitcoind.")
    return mirrors[0]


def _run(
    command: list[str], setting: str, *, cwd: Path | None = None, env: dict[str, str] | None = None
) -> str:
    done = subprocess.run(
        command, cwd=cwd, env=env, capture_output=True, text=True, check=False, timeout=FETCH_S_MAX
    )
    if done.returncode != 0:
        raise ToolMissingError(
            f"{' '.join(command[:3])} … failed; set {setting}=/path/to/the/program instead.\n"
            f"{done.stderr.strip()[-800:]}"
        )
    return done.stdout


def _existing(path: str, setting: str) -> str:
    found = shutil.which(path)
    if found is None:
        raise ToolMissingError(f"{setting}={path} is no program that can be run: give a full path.")
    return found


def _cache() -> Path:
    return Path(os.environ.get("ALATAU_TOOLS_DIR", REPOSITORY / ".cache"))


@contextmanager
def _locked(name: str) -> Iterator[None]:
    """Let one process fetch while others wait for it."""
    _cache().mkdir(parents=True, exist_ok=True)
    with (_cache() / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
