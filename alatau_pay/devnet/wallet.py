"""The resident's wallet: reads a payment URI as any wallet would, and pays it."""

from dataclasses import dataclass

from alatau_pay.devnet.anvil import CHAIN_ID, EvmDevnet
from alatau_pay.devnet.bitcoind import BitcoinDevnet
from chains.assets import NetworkKind
from chains.payment_uris import PaymentUriError, parse_payment_uri


@dataclass(frozen=True, slots=True)
class ResidentWallet:
    """A funded wallet on both nodes of the devnet."""

    bitcoin: BitcoinDevnet
    evm: EvmDevnet

    def pay(self, uri: str) -> str:
        """Pay a BIP-21 or EIP-681 URI; returns the txid. Raises PaymentUriError."""
        request = parse_payment_uri(uri)
        if request.kind is NetworkKind.BITCOIN:
            return self.bitcoin.pay(address=request.address, value_sat=request.value)
        if request.chain_id != CHAIN_ID:
            raise PaymentUriError(f"This wallet is on chain {CHAIN_ID} only.")
        return self.evm.pay(address=request.address, value=request.value, token=request.token)
