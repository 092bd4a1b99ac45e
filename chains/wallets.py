"""Receiving wallets: whose key it is, which index comes next, and what the owner's wallet sees.

A key belongs to one owner, one network and one kind of address, however it is written (R33). The
next index only ever grows, so no address is given out twice (R32).
"""

import json
from dataclasses import dataclass
from typing import Final

from django.db import transaction
from django.db.models import Max

from chains.assets import Network
from chains.bitcoin.keys import (
    AccountKey,
    ScriptKind,
    address_of,
    parse_account_key,
    receive_script,
)
from chains.models import MINED, Address, ReceivingWallet

OPERATOR: Final = "operator"
"""Who owns the keys that NETWORKS_FILE names."""
GAP_LIMIT: Final = 20
"""Unpaid addresses in a row after which a wallet looks no further (BIP-44)."""
SKIP_MAX: Final = 10_000
INDEX_MAX: Final = 2**31 - 1


class WalletError(Exception):
    """A receiving wallet cannot be used so; the message shows no key."""


class WalletTakenError(WalletError):
    """The key already serves another owner, network or kind of address (R33)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WalletGap:
    """How far a wallet's addresses were given out, and how far paid; indices count from 0.

    ``import_request`` is what bitcoind's ``importdescriptors`` takes to see every address that was
    given out: JSON, with the wallet's public key in it.
    """

    network: str
    owner: str
    kind: ScriptKind
    fingerprint: str
    next_index: int
    last_paid_index: int | None
    import_request: str

    @property
    def gap(self) -> int:
        """Addresses given out since the last that was paid in a block."""
        return self.next_index - 1 - (-1 if self.last_paid_index is None else self.last_paid_index)

    @property
    def hides_coins(self) -> bool:
        """Whether the owner's wallet may overlook a payment to the last address (R31)."""
        return self.gap > GAP_LIMIT


@transaction.atomic
def register_wallet(*, network: str, key: str, owner: str) -> ReceivingWallet:
    """Note that a key on a CAIP-2 network belongs to ``owner``; again does nothing.

    Returns its row, locked until the caller's transaction ends. Raises AccountKeyError,
    WalletTakenError.
    """
    account = parse_account_key(key, network=network)
    wallet = _locked(account) or _created(account, network=network, owner=owner)
    if wallet.owner != owner:
        raise WalletTakenError("This key already belongs to another owner's wallet.")
    if wallet.network != network:
        raise WalletTakenError(f"This key already receives on {wallet.network}.")
    if kind_of(wallet) is not account.kind:
        raise WalletTakenError(
            f"This key already receives at {kind_of(wallet)} addresses: give the account of "
            f"{account.kind} its own key."
        )
    return wallet


def take_index(wallet: ReceivingWallet) -> int:
    """Take a locked wallet's next index."""
    index = wallet.next_index
    if index > INDEX_MAX:
        raise WalletError("The wallet has no index left: name another account's key.")
    wallet.next_index = index + 1
    wallet.save(update_fields=["next_index"])
    return index


def skip_indices(*, network: Network, first: int) -> int:
    """Let the next address be number ``first``; return how many were skipped.

    After the database was restored, addresses may have been given out that it does not know. Those
    skipped are watched all the same: what reaches them is shown as not to be applied. Raises
    WalletError for a step back or a very long one.
    """
    account = parse_account_key(network.account_key, network=network.caip2)
    with transaction.atomic():
        wallet = register_wallet(network=network.caip2, key=network.account_key, owner=OPERATOR)
        if not wallet.next_index <= first <= min(INDEX_MAX, wallet.next_index + SKIP_MAX):
            raise WalletError(
                f"The next index is {wallet.next_index}: name one from there on, at most "
                f"{SKIP_MAX} further."
            )
        skipped = range(wallet.next_index, first)
        Address.objects.bulk_create(
            address_row(
                account,
                network=network.caip2,
                index=index,
                reference=f"skipped:{account.fingerprint[:16]}:{index}",
            )
            for index in skipped
        )
        wallet.next_index = first
        wallet.save(update_fields=["next_index"])
    return len(skipped)


def address_row(account: AccountKey, *, network: str, index: int, reference: str) -> Address:
    """The unsaved row of a wallet's address."""
    script = receive_script(account, index)
    return Address(
        network=network,
        text=address_of(account, script),
        script=script,
        reference=reference,
        wallet=account.fingerprint,
        index=index,
    )


def is_beyond_gap(wallet: ReceivingWallet, index: int) -> bool:
    """Whether none of the addresses in reach of the gap limit before ``index`` was paid (R31)."""
    if index < GAP_LIMIT:
        return False
    near = Address.objects.filter(
        network=wallet.network,
        wallet=wallet.fingerprint,
        index__range=(index - GAP_LIMIT, index - 1),
        transfers__state__in=MINED,
    )
    return not near.exists()


def owner_of(account: AccountKey) -> str:
    """Whose wallet a key is; empty for nobody's."""
    rows = ReceivingWallet.objects.filter(fingerprint=account.fingerprint)
    return rows.values_list("owner", flat=True).first() or ""


def gaps() -> list[WalletGap]:
    """Every wallet that ever received, with its gap; oldest first."""
    return [_gap_of(wallet) for wallet in ReceivingWallet.objects.order_by("pk")]


def kind_of(wallet: ReceivingWallet) -> ScriptKind:
    """What a wallet's addresses are."""
    return ScriptKind(wallet.descriptor.partition("(")[0])


def _locked(account: AccountKey) -> ReceivingWallet | None:
    rows = ReceivingWallet.objects.select_for_update().filter(fingerprint=account.fingerprint)
    return rows.first()


def _created(account: AccountKey, *, network: str, owner: str) -> ReceivingWallet:
    used = Address.objects.filter(network=network, wallet=account.fingerprint)
    last = used.aggregate(last=Max("index"))["last"]
    ReceivingWallet.objects.get_or_create(
        fingerprint=account.fingerprint,
        defaults={
            "network": network,
            "owner": owner,
            "descriptor": account.descriptor,
            "next_index": 0 if last is None else last + 1,
        },
    )
    return ReceivingWallet.objects.select_for_update().get(fingerprint=account.fingerprint)


def _gap_of(wallet: ReceivingWallet) -> WalletGap:
    given = Address.objects.filter(network=wallet.network, wallet=wallet.fingerprint)
    paid = given.filter(transfers__state__in=MINED).order_by("-index")
    first = given.order_by("index").first()
    began_at = first.created_at if first else wallet.created_at
    request = {
        "desc": wallet.descriptor,
        "active": False,
        "range": [0, max(0, wallet.next_index - 1)],
        "timestamp": int(began_at.timestamp()),
    }
    return WalletGap(
        network=wallet.network,
        owner=wallet.owner,
        kind=kind_of(wallet),
        fingerprint=wallet.fingerprint,
        next_index=wallet.next_index,
        last_paid_index=paid.values_list("index", flat=True).first(),
        import_request=json.dumps([request]),
    )
