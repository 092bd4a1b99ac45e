"""The registry file of a test, changed while everything runs."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from django.conf import settings

from alatau_pay.devnet import anvil

Content = dict[str, list[dict[str, Any]]]


def change_registry(change: Callable[[Content], object]) -> None:
    """Rewrite NETWORKS_FILE as an operator would, by replacing it."""
    path = Path(settings.NETWORKS_FILE)
    content = json.loads(path.read_text())
    change(content)
    before = path.stat().st_mtime_ns
    path.write_text(json.dumps(content))
    # A file system's clock may tick more slowly than a test writes.
    os.utime(path, ns=(before + 1_000_000, before + 1_000_000))


def evm_entry(content: Content) -> dict[str, Any]:
    """The entry of the EVM devnet."""
    return next(one for one in content["networks"] if one["caip2"] == anvil.CAIP2)


def list_token(address: str, *, decimals: int = 6, start_height: int | None = None) -> str:
    """Add a token to the registry; returns its CAIP-19 id."""
    caip19 = f"{anvil.CAIP2}/erc20:{address}"
    entry: dict[str, Any] = {"caip19": caip19, "symbol": "TKN", "name": "T", "decimals": decimals}
    if start_height is not None:
        entry["start_height"] = start_height
    change_registry(lambda content: content["assets"].append(entry))
    return caip19
