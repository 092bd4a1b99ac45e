"""The import contracts catch a breach: each is broken once, in a copy of the tree."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
BREACHES = {
    "rooms": ("chains/transfers.py", "import merchants.invoices"),
    "settlement-sees-assets-only": ("settlement/ledger.py", "import chains.scanning"),
    "assets-pure": ("chains/assets.py", "import django"),
    "no-broker-in-rooms": ("merchants/invoices.py", "import celery"),
    "private-models-chains": ("alatau_pay/pipeline.py", "import chains.models"),
    "private-models-settlement": ("merchants/invoices.py", "import settlement.models"),
    "inside-chains": ("chains/models.py", "import chains.scanning"),
    "inside-sweeping": ("chains/sweeping/planning.py", "import chains.sweeping.sending"),
    "inside-settlement": ("settlement/money.py", "import settlement.ledger"),
    "inside-rates": ("settlement/rates/combining.py", "import settlement.rates.routes"),
    "inside-merchants": ("merchants/models/events.py", "import merchants.invoices"),
    "inside-alatau-pay": ("alatau_pay/engines.py", "import alatau_pay.pipeline"),
    "chain-kinds-independent": ("chains/bitcoin/node.py", "import chains.evm.node"),
}


@pytest.mark.parametrize("contract", BREACHES)
def test_a_planted_breach_is_caught(contract: str, tmp_path: Path) -> None:
    for name in ("alatau_pay", "merchants", "settlement", "chains"):
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / name, tmp_path / name, ignore=ignored)
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    command = [
        str(Path(sys.executable).with_name("lint-imports")),
        "--no-cache",
        "--contract",
        contract,
    ]
    clean = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert clean.returncode == 0, clean.stdout

    path, line = BREACHES[contract]
    breached = tmp_path / path
    breached.write_text(breached.read_text() + f"\n{line}\n")

    caught = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)

    assert caught.returncode != 0
    assert "BROKEN" in caught.stdout
