"""Both nodes of the devnet, and the registry file that names them."""

import json
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from alatau_pay.devnet import anvil, bitcoind
from alatau_pay.devnet.anvil import EvmDevnet, start_anvil
from alatau_pay.devnet.bitcoind import BitcoinDevnet, start_bitcoind
from alatau_pay.devnet.wallet import ResidentWallet


@dataclass(frozen=True, slots=True)
class Devnet:
    """The two running nodes."""

    bitcoin: BitcoinDevnet
    evm: EvmDevnet

    @property
    def resident(self) -> ResidentWallet:
        """A wallet with coins on both."""
        return ResidentWallet(bitcoin=self.bitcoin, evm=self.evm)

    def write_networks_file(self, path: Path) -> None:
        """Write the registry (NETWORKS_FILE) that starts scanning at the present tips."""
        path.write_text(json.dumps({"networks": self._networks(), "assets": self._assets()}))

    def _networks(self) -> list[dict[str, Any]]:
        return [
            {
                "caip2": bitcoind.CAIP2,
                "kind": "bitcoin",
                "name": "Bitcoin",
                "coin": "BTC",
                "endpoints": [self.bitcoin.rpc_url],
                "push": self.bitcoin.zmq_url,
                "final_confirmations": 2,
                "block_time_s": 600,
                "start_height": self.bitcoin.call("getblockcount"),
                "account_key": self.bitcoin.account_key,
                "is_devnet": True,
            },
            {
                "caip2": anvil.CAIP2,
                "kind": "evm",
                "name": "Ethereum",
                "coin": "ETH",
                "endpoints": [self.evm.url],
                "push": self.evm.ws_url,
                "final_confirmations": 0,
                "block_time_s": 12,
                "start_height": self.evm.web3().eth.block_number,
                "factory": self.evm.factory,
                "forwarder": self.evm.forwarder,
                "treasury": self.evm.treasury,
                "native": "traces",
                "sweeping": self._sweeping(),
                "is_devnet": True,
            },
        ]

    def _sweeping(self) -> dict[str, Any]:
        tokens = [f"{anvil.CAIP2}/erc20:{token}" for token in (self.evm.usdt, self.evm.usdc)]
        ether = f"{anvil.CAIP2}/slip44:60"
        return {
            "minimums": [
                *({"asset": token, "value": 1_000_000} for token in tokens),
                {"asset": ether, "value": 10**15},
            ],
            "age_s_max": 30 * 86_400,
            "gas_max": 15_000_000,
            "fee_wei_per_gas_max": 50 * 10**9,
            "cost_bp_max": 1_000,
            "payer_wei_min": 10**17,
        }

    def _assets(self) -> list[dict[str, Any]]:
        rows = (
            (f"{bitcoind.CAIP2}/slip44:1", "BTC", "Bitcoin", 8),
            (f"{anvil.CAIP2}/slip44:60", "ETH", "Ether", 18),
            (f"{anvil.CAIP2}/erc20:{self.evm.usdt}", "USDT", "Tether USD", 6),
            (f"{anvil.CAIP2}/erc20:{self.evm.usdc}", "USDC", "USD Coin", 6),
        )
        names = ("caip19", "symbol", "name", "decimals")
        return [dict(zip(names, row, strict=True)) for row in rows]


@contextmanager
def start_devnet(folder: Path) -> Iterator[Devnet]:
    """Start both nodes in ``folder``; stop them on leaving. Raises ToolMissingError."""
    with ExitStack() as stack:
        yield Devnet(
            bitcoin=stack.enter_context(start_bitcoind(folder / "bitcoind")),
            evm=stack.enter_context(start_anvil(folder / "anvil")),
        )
