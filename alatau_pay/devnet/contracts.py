"""The compiled contracts: artefacts beside their Vyper source, and the command that makes them.

``python -m alatau_pay.devnet.contracts`` compiles anew; a test checks that nothing else changes.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

PACKAGE: Final = Path(__file__).resolve().parents[1]
SOURCES: Final = (
    PACKAGE.parent / "chains/evm/contracts/ForwarderFactory.vy",
    PACKAGE.parent / "chains/evm/contracts/Forwarder.vy",
    PACKAGE / "devnet/tokens/TestUSDT.vy",
    PACKAGE / "devnet/tokens/TestUSDC.vy",
)


@dataclass(frozen=True, slots=True)
class Artefact:
    """A contract ready to deploy: its ABI and its creation bytecode as 0x-hex."""

    abi: list[dict[str, Any]]
    bytecode: str


def artefact(name: str) -> Artefact:
    """Read the committed artefact of a contract by name."""
    source = next(path for path in SOURCES if path.stem == name)
    content = json.loads(source.with_suffix(".json").read_text())
    return Artefact(abi=content["abi"], bytecode=content["bytecode"])


def compiled(source: Path) -> str:
    """Compile one source with the pinned Vyper and return its artefact as text."""
    from vyper import compile_code

    made = compile_code(source.read_text(), output_formats=["abi", "bytecode"])
    return json.dumps({"abi": made["abi"], "bytecode": made["bytecode"]}, indent=1) + "\n"


if __name__ == "__main__":
    for path in SOURCES:
        path.with_suffix(".json").write_text(compiled(path))
