"""Tell people what a block brought that no payment of ours can answer for (R44, R56)."""

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import Final

from eth_utils.address import to_canonical_address, to_checksum_address

from chains.alerts import AlertKind, close_alerts, raise_alert
from chains.models import Address, AssetCursor, Deployment
from chains.nodes import BlockRef, Notice, NoticeKind, Output

AGAINST_ACCOUNTS: Final = frozenset({NoticeKind.BLOCKED, NoticeKind.DESTROYED})
ABOUT_TOKENS: Final = frozenset({NoticeKind.UPGRADED, NoticeKind.PAUSED, NoticeKind.RESUMED})


def tell_of_notices(network: str, notices: Sequence[Notice], ours: Mapping[bytes, Address]) -> None:
    """Raise or close an alert for each notice about a token, an address of ours or a treasury."""
    for notice in notices:
        if notice.kind in ABOUT_TOKENS:
            _tell_of_token(network, notice)
        elif notice.script in ours or notice.script in _treasuries(network):
            _tell_of_account(network, notice)


def tell_of_strays(network: str, strays: Sequence[tuple[Address, Output]]) -> None:
    """Raise an alert for each payment to an address that was given out for another network."""
    for address, output in strays:
        raise_alert(
            network=network,
            kind=AlertKind.OTHER_NETWORK,
            subject=address.text,
            evidence=f"{output.txid}/{output.position}",
            detail=(
                f"{output.value} base units of {output.asset} came to {address.text}, which was "
                f"given out on {address.network} for {address.reference}. Nothing was credited."
            ),
        )


def tell_of_untraced(network: str, ref: BlockRef, untraced: AbstractSet[str]) -> None:
    """Raise an alert for each transaction of a block that no node could trace."""
    for txid in sorted(untraced):
        raise_alert(
            network=network,
            kind=AlertKind.NOT_TRACED,
            subject=txid,
            evidence=ref.hash,
            detail=(
                f"No node could trace {txid} in block {ref.height}: what it carries itself was "
                "read, what it passed on inside is not known. Once a node can trace it: "
                f"manage.py rescan --network {network} --from {ref.height}"
            ),
        )


def _tell_of_token(network: str, notice: Notice) -> None:
    where = f"{notice.detail} in {notice.txid}"
    if notice.kind is NoticeKind.UPGRADED:
        raise_alert(
            network=network,
            kind=AlertKind.TOKEN_CHANGED,
            subject=notice.asset,
            evidence=notice.txid,
            detail=f"The contract runs other code now, or hands over to another: {where}",
        )
        # What it says of itself is asked again at once (R54).
        AssetCursor.objects.filter(asset=notice.asset).update(checked_at=None)
    elif notice.kind is NoticeKind.PAUSED:
        raise_alert(
            network=network,
            kind=AlertKind.TOKEN_PAUSED,
            subject=notice.asset,
            detail=f"Its issuer stopped all transfers: {where}",
        )
    else:
        close_alerts(network=network, kind=AlertKind.TOKEN_PAUSED, subject=notice.asset)


def _tell_of_account(network: str, notice: Notice) -> None:
    address = to_checksum_address(notice.script or b"")
    if notice.kind in AGAINST_ACCOUNTS:
        raise_alert(
            network=network,
            kind=AlertKind.ADDRESS_BLOCKED,
            subject=address,
            evidence=notice.asset,
            detail=f"The issuer of {notice.asset} acts against it: {notice.detail}, {notice.txid}",
        )
    else:
        close_alerts(
            network=network,
            kind=AlertKind.ADDRESS_BLOCKED,
            subject=address,
            evidence=notice.asset,
        )


def _treasuries(network: str) -> set[bytes]:
    rows = Deployment.objects.filter(network=network).values_list("treasury", flat=True)
    return {bytes(to_canonical_address(treasury)) for treasury in rows}
