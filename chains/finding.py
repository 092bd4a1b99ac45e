"""What of ours is among what a node said: addresses that are paid, transactions that are ruled out.

Nothing is written here, and no lock is needed: an address that is given out later cannot be paid by
a block that was read before.
"""

from collections.abc import Collection, Generator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass

from chains.lookups import rows_matching
from chains.models import Address, Deployment
from chains.nodes import UNREADABLE, BlockContent, BlockRef, NodeError, Notice, Output


@dataclass(frozen=True, slots=True, kw_only=True)
class Findings:
    """What a block means to us; worked out before any lock is taken, for the node may be asked."""

    ref: BlockRef
    ours: Mapping[bytes, Address]
    outputs: Sequence[Output]
    conflicts: Sequence[tuple[str, str]]
    """Transactions that pay us, and the other one that spent what they spend."""
    outflows: Sequence[Output] = ()
    notices: Sequence[Notice] = ()
    strays: Sequence[tuple[Address, Output]] = ()
    """Payments to addresses that were given out for another network (R44)."""
    untraced: AbstractSet[str] = frozenset()
    """Transactions that no node could trace: what they passed on is not known."""


def find_in(network: str, content: BlockContent) -> Findings:
    """Look up what a block pays to addresses of ours, and which of our transactions it rules out.

    An address that is given out later cannot be paid by a block that was read before. Raises
    NodeError.
    """
    scripts = content.scripts
    ours = addresses_among([network], scripts)
    elsewhere = _addresses_elsewhere(network, scripts - ours.keys())
    outputs = content.outputs_to(ours.keys()) if ours else ()
    return Findings(
        ref=content.ref,
        ours=ours,
        outputs=[one for one in outputs if not _is_counted_by_balance(one, ours[one.script])],
        outflows=content.outflows_from(ours.keys()) if ours else (),
        notices=content.notices,
        untraced=content.untraced,
        strays=[
            (elsewhere[one.script], one)
            for one in (content.outputs_to(elsewhere.keys()) if elsewhere else ())
        ],
        conflicts=[
            (txid, spender)
            for outpoint, txid in spends_among(network, content.spent)
            if (spender := content.spender_of(outpoint)) != txid
        ],
    )


def find_each(network: str, blocks: Generator[BlockContent]) -> Generator[Findings]:
    """Find in one block after the other; raises NodeError, and whoever reads them hears of it."""
    for content in blocks:
        try:
            found = find_in(network, content)
        except (NodeError, *UNREADABLE) as error:
            blocks.throw(error)
            raise
        yield found


def addresses_among(networks: Sequence[str], scripts: AbstractSet[bytes]) -> dict[bytes, Address]:
    """Those of a block's scripts that are addresses of ours: one indexed query for all."""
    if not scripts or not networks:
        return {}
    # By the script alone, whose index is small and flat; the few that match are then read whole.
    rows = rows_matching("SELECT id FROM chains_address WHERE script = ANY(%s)", scripts)
    pks = [pk for (pk,) in rows]
    known = Address.objects.filter(network__in=networks, pk__in=pks) if pks else ()
    return {bytes(address.script): address for address in known}


def spends_among(network: str, outpoints: Collection[bytes]) -> list[tuple[bytes, str]]:
    """Which of some outpoints the unmined transactions that pay us spend, each with its txid."""
    if not outpoints:
        return []
    rows = rows_matching(
        "SELECT network, outpoint, txid FROM chains_spend "
        "WHERE outpoint = ANY(%s) AND NOT is_mined ORDER BY id",
        outpoints,
    )
    return [(outpoint, txid) for where, outpoint, txid in rows if where == network]


def rivals_of(network: str, outpoints: Collection[bytes]) -> dict[bytes, set[str]]:
    """The transactions paying us that spend some outpoints, mined or not, by outpoint."""
    rivals: dict[bytes, set[str]] = {}
    query = "SELECT outpoint, txid FROM chains_spend WHERE network = %s AND outpoint = ANY(%s)"
    for outpoint, txid in rows_matching(query, outpoints, network) if outpoints else ():
        rivals.setdefault(outpoint, set()).add(txid)
    return rivals


def _addresses_elsewhere(network: str, scripts: AbstractSet[bytes]) -> dict[bytes, Address]:
    """Addresses of ours on other EVM networks: the same address exists on all of them (R44)."""
    if not network.startswith("eip155:"):
        return {}
    others = Deployment.objects.exclude(network=network).values_list("network", flat=True)
    return addresses_among(sorted(set(others)), scripts)


def _is_counted_by_balance(output: Output, address: Address) -> bool:
    """Whether a coin's movement is left to ``chains.balances``: never two ways for one address."""
    return address.balance_height is not None and "/erc20:" not in output.asset
