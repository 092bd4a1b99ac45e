"""Give out addresses: a fresh one for each reference, never reused, never forgotten."""

from dataclasses import dataclass
from datetime import datetime

import structlog
from django.db import connection, transaction
from django.db.models import Q
from eth_utils.address import to_canonical_address

from chains.assets import NativeMode, Network, NetworkKind
from chains.bitcoin.keys import parse_account_key
from chains.evm.forwarders import forwarder_address, invoice_salt
from chains.models import Address, Cursor, Deployment
from chains.wallets import OPERATOR, address_row, is_beyond_gap, register_wallet, take_index

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class AllocatedAddress:
    """An address on a network, as a wallet writes it."""

    network: str
    text: str


@transaction.atomic
def allocate_address(
    *, network: Network, reference: str, watch_until: datetime | None = None
) -> AllocatedAddress:
    """Return the address of ``reference`` on ``network``, allocating it at the first call.

    ``reference`` is the caller's own name, at most 64 characters. ``watch_until`` (UTC) is how long
    a payment is waited for: where coins are found by balances, the address is looked at often until
    then, and in turn with all others ever after; a later call may only prolong it. Takes an
    advisory lock on the network's addresses until the caller's transaction ends (R32). Raises
    WalletError.
    """
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(hashtextextended(%s, 1))", [network.caip2])
    row = Address.objects.filter(network=network.caip2, reference=reference).first()
    if row is None:
        derive = _bitcoin if network.kind is NetworkKind.BITCOIN else _evm
        row = derive(network, reference)
        row.watch_until = watch_until
        row.save(force_insert=True)
    elif watch_until is not None:
        shorter = Q(watch_until=None) | Q(watch_until__lt=watch_until)
        Address.objects.filter(shorter, pk=row.pk).update(watch_until=watch_until)
    return AllocatedAddress(network=network.caip2, text=row.text)


def _bitcoin(network: Network, reference: str) -> Address:
    account = parse_account_key(network.account_key, network=network.caip2)
    wallet = register_wallet(network=network.caip2, key=network.account_key, owner=OPERATOR)
    index = take_index(wallet)
    if is_beyond_gap(wallet, index):
        log.warning(
            "address beyond the wallet's gap limit",
            network=network.caip2,
            index=index,
            see="manage.py wallet gap",
        )
    return address_row(account, network=network.caip2, index=index, reference=reference)


def _evm(network: Network, reference: str) -> Address:
    salt = invoice_salt(network=network.caip2, reference=reference)
    deployment, _created = Deployment.objects.get_or_create(
        network=network.caip2,
        factory=network.factory,
        forwarder=network.forwarder,
        treasury=network.treasury,
    )
    text = forwarder_address(
        factory=network.factory, forwarder=network.forwarder, treasury=network.treasury, salt=salt
    )
    return Address(
        network=network.caip2,
        text=text,
        script=to_canonical_address(text),
        reference=reference,
        salt=salt,
        deployment=deployment,
        balance_height=_height(network) if network.native is NativeMode.BALANCES else None,
    )


def _height(network: Network) -> int:
    """The block that the network was read to: nobody can have paid a new address before it."""
    cursor = Cursor.objects.filter(network=network.caip2).first()
    return max(0, network.start_height - 1) if cursor is None else cursor.height
