"""Payment URIs that wallets read: BIP-21 for bitcoin, EIP-681 for ether and tokens."""

import re
from dataclasses import dataclass
from decimal import Decimal
from typing import Final
from urllib.parse import parse_qs, quote, urlencode, urlsplit

from chains.assets import Asset, Network, NetworkKind

EIP681: Final = re.compile(
    r"ethereum:(?:pay-)?(?P<target>0x[0-9a-fA-F]{40})(?:@(?P<chain>[0-9]+))?"
    r"(?:/(?P<function>[A-Za-z0-9_]+))?(?:\?(?P<query>.*))?"
)


class PaymentUriError(ValueError):
    """The text is no payment URI that this gateway writes or reads."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PaymentRequest:
    """Who is to be paid and how much, in base units; ``token`` is an ERC-20 contract."""

    kind: NetworkKind
    address: str
    value: int
    chain_id: int | None = None
    token: str | None = None


def payment_uri(
    *, network: Network, asset: Asset, address: str, value: int, label: str = ""
) -> str:
    """Write the URI that asks for ``value`` base units of ``asset`` to ``address``."""
    if network.kind is NetworkKind.BITCOIN:
        query = {"amount": f"{Decimal(value).scaleb(-asset.decimals):f}"}
        query |= {"label": label} if label else {}
        return f"bitcoin:{address}?{urlencode(query, quote_via=quote)}"
    if asset.contract is None:
        return f"ethereum:{address}@{network.chain_id}?value={value}"
    return (
        f"ethereum:{asset.contract}@{network.chain_id}/transfer?address={address}&uint256={value}"
    )


def parse_payment_uri(text: str) -> PaymentRequest:
    """Read a BIP-21 or EIP-681 URI; raises PaymentUriError, also for a req- parameter."""
    if text.lower().startswith("bitcoin:"):
        return _bip21(text)
    match = EIP681.fullmatch(text)
    if match is None:
        raise PaymentUriError("This is neither a bitcoin: nor an ethereum: payment URI.")
    query = {key: values[-1] for key, values in parse_qs(match["query"] or "").items()}
    chain_id = int(match["chain"] or 1)
    if match["function"] is None:
        value = _integer(query.get("value", ""))
        return PaymentRequest(
            kind=NetworkKind.EVM, address=match["target"], value=value, chain_id=chain_id
        )
    if match["function"] != "transfer" or "address" not in query:
        raise PaymentUriError("The URI calls a function that is not a transfer.")
    return PaymentRequest(
        kind=NetworkKind.EVM,
        address=query["address"],
        value=_integer(query.get("uint256", "")),
        chain_id=chain_id,
        token=match["target"],
    )


def _bip21(text: str) -> PaymentRequest:
    parts = urlsplit(text)
    query = {key: values[-1] for key, values in parse_qs(parts.query).items()}
    if any(key.startswith("req-") for key in query):
        raise PaymentUriError("The URI requires something that is not known here (BIP-21 req-).")
    if not re.fullmatch(r"[0-9]{1,8}(\.[0-9]{1,8})?", query.get("amount", "")):
        raise PaymentUriError("The URI names no amount in bitcoin.")
    value = int(Decimal(query["amount"]).scaleb(8))
    return PaymentRequest(kind=NetworkKind.BITCOIN, address=parts.path, value=value)


def _integer(text: str) -> int:
    if not re.fullmatch(r"[0-9]{1,78}", text):
        raise PaymentUriError("The URI names no amount in base units.")
    return int(text)
