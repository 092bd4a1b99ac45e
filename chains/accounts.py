"""Whether accounts that hold our coins are still what they were.

An account whose code begins with 0xef0100 lets another contract act for it (EIP-7702). At a deposit
address or a treasury it means that somebody may empty it: stolen keys are used so, by programs that
take whatever arrives (R61).
"""

from datetime import timedelta
from typing import Final

from django.db.models.functions import Now
from eth_utils.address import to_canonical_address, to_checksum_address

from chains.alerts import AlertKind, close_alerts, raise_alert
from chains.assets import Network
from chains.evm.deployment import DELEGATED
from chains.evm.node import EvmNode
from chains.models import MINED, Address, Deployment
from chains.nodes import Node
from chains.pool import NodePool

PAID_WITHIN: Final = timedelta(days=30)
ACCOUNTS_MAX: Final = 2_000


def check_accounts(*, network: Network, nodes: NodePool) -> int:
    """Look at the treasuries and at lately paid addresses; return how many let others act for them.

    Raises an alert for each. Raises NodeError.
    """
    treasuries = Deployment.objects.filter(network=network.caip2).values_list("treasury", flat=True)
    paid = Address.objects.filter(
        network=network.caip2,
        transfers__state__in=MINED,
        transfers__block__time__gt=Now() - PAID_WITHIN,
    )
    newest = paid.order_by("-pk").distinct().values_list("script", flat=True)[:ACCOUNTS_MAX]
    texts = [network.treasury, *treasuries] if network.treasury else [*treasuries]
    accounts = {bytes(to_canonical_address(text)) for text in texts}
    accounts |= {bytes(script) for script in newest}
    ordered = sorted(accounts)

    def ask(node: Node) -> list[bytes]:
        if not isinstance(node, EvmNode):
            raise TypeError(f"{network.name} is no EVM network.")
        return node.codes_of(ordered)

    delegated = 0
    for account, code in zip(ordered, nodes.ask(ask), strict=True):
        address, kind = to_checksum_address(account), AlertKind.ADDRESS_DELEGATED
        if code.startswith(DELEGATED):
            delegated += 1
            by = to_checksum_address(code[len(DELEGATED) :][:20].rjust(20, b"\0"))
            detail = f"{address} lets the contract {by} act for it (EIP-7702): move what is there."
            raise_alert(network=network.caip2, kind=kind, subject=address, detail=detail)
        else:
            close_alerts(network=network.caip2, kind=kind, subject=address)
    return delegated
