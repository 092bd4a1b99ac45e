"""What the logs of watched contracts say: token payments, sweeps, and what an issuer does.

A token payment is a ``Transfer`` log (EIP-20) of a listed contract, and nothing else is: what a
contract returned, or an unlisted one logged, moves nothing (R45, R47). Since EIP-7708 the network
itself logs movements of its coin in the same form, in the name of a system address.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from eth_utils.address import to_canonical_address
from eth_utils.crypto import keccak

from chains.evm.blocks import Header, LogEntry, Movement
from chains.evm.rpc import octets, quantity
from chains.nodes import NodeContradictionError, NodeUnavailableError, Notice, NoticeKind

TRANSFER_TOPIC: Final = keccak(text="Transfer(address,address,uint256)")
SWEPT_TOPIC: Final = keccak(text="Swept(address,address,uint256)")
COIN_LOGGER: Final = to_canonical_address("0xfffffffffffffffffffffffffffffffffffffffe")
"""EIP-7708: the address in whose name the network logs every movement of its coin."""
NO_TOKEN: Final = bytes(20)

NOTICES: Final[Mapping[str, NoticeKind]] = {
    "Upgraded(address)": NoticeKind.UPGRADED,
    "BeaconUpgraded(address)": NoticeKind.UPGRADED,
    "Deprecate(address)": NoticeKind.UPGRADED,
    "Paused(address)": NoticeKind.PAUSED,
    "Pause()": NoticeKind.PAUSED,
    "Unpaused(address)": NoticeKind.RESUMED,
    "Unpause()": NoticeKind.RESUMED,
    "AddedBlackList(address)": NoticeKind.BLOCKED,
    "Blacklisted(address)": NoticeKind.BLOCKED,
    "RemovedBlackList(address)": NoticeKind.UNBLOCKED,
    "UnBlacklisted(address)": NoticeKind.UNBLOCKED,
    "DestroyedBlackFunds(address,uint256)": NoticeKind.DESTROYED,
}
"""EIP-1967 proxies, OpenZeppelin's and the issuers' own events (Tether, Circle)."""
NOTICE_TOPICS: Final = {keccak(text=signature): signature for signature in NOTICES}
ABOUT_ACCOUNTS: Final = frozenset({NoticeKind.BLOCKED, NoticeKind.UNBLOCKED, NoticeKind.DESTROYED})
TOPICS: Final = (TRANSFER_TOPIC, SWEPT_TOPIC, *NOTICE_TOPICS)


@dataclass(frozen=True, slots=True, kw_only=True)
class Watched:
    """The contracts whose logs count: listed ones by address with their asset, and the factory.

    ``coin`` is the network's own, where sweeps of it are to be told.
    """

    contracts: Mapping[bytes, str]
    factory: bytes | None = None
    coin: str | None = None

    @property
    def addresses(self) -> tuple[bytes, ...]:
        """All of them."""
        return (*self.contracts, *([self.factory] if self.factory else []))


@dataclass(slots=True)
class Said:
    """What a block's logs came to."""

    paid: list[Movement] = field(default_factory=list)
    swept: list[Movement] = field(default_factory=list)
    notices: list[Notice] = field(default_factory=list)


def read_logs(header: Header, rows: Sequence[Any], watched: Watched) -> Said:
    """Read a block's logs.

    Raises NodeContradictionError for a log that is told twice, or is of another block or of no
    transaction of it (R41), NodeUnavailableError for what is no log.
    """
    said = Said()
    known, places = set(header.txids), set[tuple[str, int]]()
    for row in rows:
        txid, entry = _read(header, row)
        if (txid, entry.index) in places:
            raise NodeContradictionError(f"A log of block {header.ref.height} is told twice.")
        places.add((txid, entry.index))
        if txid not in known:
            raise NodeContradictionError(
                f"A log of block {header.ref.height} belongs to no transaction of it."
            )
        _sort(txid, entry, watched, said)
    return said


def place_in(movement: Movement, receipt: Mapping[str, Any]) -> str:
    """A log's place inside its receipt: unlike its index in the block, it survives a reorg.

    Raises NodeContradictionError where the receipt does not hold the very log.
    """
    for ordinal, row in enumerate(receipt["logs"]):
        if _entry(row) == movement.log:
            return f"log:{ordinal}"
    raise NodeContradictionError(f"The receipt of {movement.txid} does not hold its log.")


def _read(header: Header, row: Any) -> tuple[str, LogEntry]:  # noqa: ANN401 -- JSON
    try:
        block_hash = octets(row["blockHash"], length=32).hex()
        txid = octets(row["transactionHash"], length=32).hex()
        entry, removed = _entry(row), row.get("removed")
    except (KeyError, TypeError, AttributeError):
        raise NodeUnavailableError("The node sent what is no log.") from None
    if block_hash != header.ref.hash or removed:
        raise NodeContradictionError(f"A log is not of block {header.ref.height} (any more).")
    return txid, entry


def _entry(row: Any) -> LogEntry:  # noqa: ANN401 -- JSON
    return LogEntry(
        index=quantity(row["logIndex"]),
        contract=octets(row["address"], length=20),
        topics=tuple(octets(topic, length=32) for topic in row["topics"]),
        data=octets(row["data"]),
    )


def _sort(txid: str, entry: LogEntry, watched: Watched, said: Said) -> None:
    topic = entry.topics[0] if entry.topics else b""
    asset = watched.contracts.get(entry.contract)
    if topic == TRANSFER_TOPIC and asset is not None:
        said.paid += _transfer(txid, entry, asset)
    elif topic == SWEPT_TOPIC and entry.contract == watched.factory:
        said.swept += _sweep(txid, entry, watched)
    elif topic in NOTICE_TOPICS and asset is not None:
        said.notices += _notice(txid, entry, asset)


def _transfer(txid: str, entry: LogEntry, asset: str) -> list[Movement]:
    value = int.from_bytes(entry.data, "big")
    # R49: a zero-value transfer is somebody's bait. Four topics are an EIP-721 transfer.
    if len(entry.topics) != 3 or len(entry.data) != 32 or value == 0:
        return []
    to = entry.topics[2][12:]
    return [Movement(txid=txid, position="", address=to, asset=asset, value=value, log=entry)]


def _sweep(txid: str, entry: LogEntry, watched: Watched) -> list[Movement]:
    holder, token = (topic[12:] for topic in entry.topics[1:3])
    asset = watched.coin if token == NO_TOKEN else watched.contracts.get(token)
    if asset is None:
        return []
    value = int.from_bytes(entry.data, "big")
    return [Movement(txid=txid, position="", address=holder, asset=asset, value=value, log=entry)]


def _notice(txid: str, entry: LogEntry, asset: str) -> list[Notice]:
    signature = NOTICE_TOPICS[entry.topics[0]]
    # Issuers index arguments as they like: indexed or not, they come in this order.
    data = [entry.data[at : at + 32] for at in range(0, len(entry.data), 32)]
    words = [*entry.topics[1:], *data]
    kind = NOTICES[signature]
    about = words[0][12:] if kind in ABOUT_ACCOUNTS and words and len(words[0]) == 32 else None
    if kind in ABOUT_ACCOUNTS and about is None:
        return []
    detail = " ".join([signature, *(f"0x{word.hex()}" for word in words[:4])])
    return [Notice(kind=kind, asset=asset, script=about, txid=txid, detail=detail)]
