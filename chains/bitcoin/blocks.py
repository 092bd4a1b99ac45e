"""A Bitcoin block's outputs and inputs, by a walk over its raw bytes.

The walk reads lengths and steps over everything else, so that a full block costs milliseconds;
python-bitcoinlib parses only the transactions that matter. What was read is held against the
header: the bytes end where the last transaction ends, and the transactions hash to the Merkle root.
"""

import operator
import struct
from collections.abc import Collection, Mapping, Sequence
from collections.abc import Set as AbstractSet
from datetime import UTC, datetime
from functools import cached_property
from hashlib import sha256
from typing import Final

from bitcoin.core import CBlockHeader, COutPoint, CTransaction, b2lx
from bitcoin.core.serialize import SerializationError

from chains.bitcoin.keys import SCRIPT_HEADS
from chains.nodes import BlockRef, NodeContradictionError, NodeUnavailableError, Notice, Output

COINBASE_MATURITY: Final = 100
VALUE_SAT_MAX: Final = 21_000_000 * 100_000_000
HEADER_BYTES: Final = 80
OUTPOINT_BYTES: Final = 36
ONE_BYTE_BELOW: Final = 0xFD
"""CompactSize numbers below this are one byte."""
READ_U64 = struct.Struct("<Q").unpack_from


def _length(raw: bytes, at: int) -> tuple[int, int]:
    """A CompactSize number at ``at`` and the place after it."""
    first = raw[at]
    if first < ONE_BYTE_BELOW:
        return first, at + 1
    width = {0xFD: 2, 0xFE: 4, 0xFF: 8}[first]
    return int.from_bytes(raw[at + 1 : at + 1 + width], "little"), at + 1 + width


Span = tuple[int, int, int, int]
"""Where one transaction stands: its start, its inputs, the end of its outputs, its end.

The txid covers the version before ``inputs``, what follows up to ``outputs``, and the last 4 bytes.
"""


class BitcoinBlock:
    """A block as its bytes say (BIP-141 serialisation)."""

    def __init__(self, raw: bytes, *, ref: BlockRef, asset: str) -> None:
        """Walk the bytes; raises NodeContradictionError when they are not the block ``ref``."""
        self.ref, self._raw, self._asset = ref, raw, asset
        self._spans: list[Span] = []
        # Side by side: each script that is paid, each outpoint that is spent, and the number of the
        # transaction that does so. Lists, because most are never looked at again.
        self._scripts: list[bytes] = []
        self._payers: list[int] = []
        self._outpoints: list[bytes] = []
        self._spenders: list[int] = []
        try:
            self._walk()
            genuine = merkle_root(self._txids) == raw[36:68]
        except (IndexError, KeyError, OverflowError, struct.error):
            genuine = False
        if not genuine or block_hash(raw[:HEADER_BYTES]) != ref.hash:
            raise NodeContradictionError(
                f"The node's bytes are not those of block {ref.height} {ref.hash}."
            )

    @property
    def scripts(self) -> AbstractSet[bytes]:
        """Every scriptPubKey that is paid more than nothing, of the kinds that we give out."""
        heads = frozenset(SCRIPT_HEADS.values())
        return frozenset(script for script in self._scripts if script[:2] in heads)

    @property
    def spent(self) -> Collection[bytes]:
        """Every outpoint that is spent: txid (as hashed) and vout, 36 bytes."""
        return self._outpoints

    def outputs_to(self, scripts: AbstractSet[bytes]) -> Sequence[Output]:
        """The outputs that pay some scripts, in the block's order."""
        paying = zip(self._scripts, self._payers, strict=True)
        return [
            output
            for number in sorted({number for script, number in paying if script in scripts})
            for output in outputs_of(self._transaction(number), asset=self._asset)
            if output.script in scripts
        ]

    def outflows_from(self, _scripts: AbstractSet[bytes]) -> Sequence[Output]:
        """None: what leaves an address is a spend."""
        return ()

    @property
    def notices(self) -> Sequence[Notice]:
        """None: a coin has no issuer."""
        return ()

    @property
    def untraced(self) -> AbstractSet[str]:
        """None: a transaction moves what its outputs say."""
        return frozenset()

    def spender_of(self, outpoint: bytes) -> str:
        """The txid that spends one of ``spent``."""
        return str(b2lx(self._txids[self._spender_numbers[outpoint]]))

    def _transaction(self, number: int) -> CTransaction:
        start, _inputs, _outputs, end = self._spans[number]
        return parse_transaction(self._raw[start:end])

    def _walk(self) -> None:
        raw = self._raw
        count, at = _length(raw, HEADER_BYTES)
        for number in range(count):
            at = self._walk_transaction(number, at)
        if at != len(raw) or not count:
            raise IndexError("the bytes end elsewhere")

    def _walk_transaction(self, number: int, start: int) -> int:  # noqa: C901 -- inlined: hot path
        """Step over one transaction; where a size is one byte, nothing is called to read it."""
        raw = self._raw
        at = start + 4
        has_witness = raw[at] == 0  # BIP-144's marker: no transaction has zero inputs
        at += 2 * has_witness
        inputs_start = at
        inputs, at = _length(raw, at)
        for _ in range(inputs):
            self._outpoints.append(raw[at : at + OUTPOINT_BYTES])
            self._spenders.append(number)
            at += OUTPOINT_BYTES
            size = raw[at]
            if size < ONE_BYTE_BELOW:
                at += 5 + size
            else:
                size, at = _length(raw, at)
                at += size + 4
        outputs, at = _length(raw, at)
        for _ in range(outputs):
            (value,) = READ_U64(raw, at)
            size = raw[at + 8]
            at += 9
            if size >= ONE_BYTE_BELOW:
                size, at = _length(raw, at - 1)
            if 0 < value <= VALUE_SAT_MAX:
                self._scripts.append(raw[at : at + size])
                self._payers.append(number)
            at += size
        outputs_end = at
        for _ in range(inputs if has_witness else 0):
            items = raw[at]
            at += 1
            if items >= ONE_BYTE_BELOW:
                items, at = _length(raw, at - 1)
            for _ in range(items):
                size = raw[at]
                at += 1
                if size >= ONE_BYTE_BELOW:
                    size, at = _length(raw, at - 1)
                at += size
        self._spans.append((start, inputs_start, outputs_end, at + 4))
        return at + 4

    @cached_property
    def _spender_numbers(self) -> dict[bytes, int]:
        return dict(zip(self._outpoints, self._spenders, strict=True))

    @cached_property
    def _txids(self) -> list[bytes]:
        raw = self._raw
        return [
            sha256(
                sha256(raw[start : start + 4] + raw[inputs:outputs] + raw[end - 4 : end]).digest()
            ).digest()
            for start, inputs, outputs, end in self._spans
        ]


def merkle_root(txids: Sequence[bytes]) -> bytes:
    """The root of some txids (as hashed); of none where a pair is twice the same (CVE-2012-2459).

    Repeating a block's last transactions leaves its root as it is: such a list is no block.
    """
    level = list(txids)
    while len(level) > 1:
        pairs = zip(level[::2], level[1::2], strict=False)
        above = [sha256(sha256(left + right).digest()).digest() for left, right in pairs]
        if any(map(operator.eq, level[::2], level[1::2])):
            return b""
        if len(level) % 2:
            above.append(sha256(sha256(level[-1] * 2).digest()).digest())
        level = above
    return level[0]


def block_hash(header: bytes) -> str:
    """The hash of an 80-byte header, as people write it."""
    return str(b2lx(sha256(sha256(header).digest()).digest()))


def read_header(raw: bytes, *, height: int) -> BlockRef:
    """What a block's first 80 bytes say of it. Raises NodeUnavailableError."""
    try:
        header = CBlockHeader.deserialize(raw[:HEADER_BYTES])
    except SerializationError:
        raise NodeUnavailableError("The Bitcoin node sent bytes that are no block.") from None
    return BlockRef(
        height=height,
        hash=b2lx(header.GetHash()),
        parent_hash=b2lx(header.hashPrevBlock),
        time=datetime.fromtimestamp(header.nTime, tz=UTC),
    )


def parse_transaction(raw: bytes) -> CTransaction:
    """Parse one transaction. Raises NodeUnavailableError for bytes that are none."""
    try:
        return CTransaction.deserialize(raw)
    except (SerializationError, ValueError, TypeError):
        raise NodeUnavailableError("The Bitcoin node sent bytes that are no transaction.") from None


def spends_of(tx: CTransaction) -> Mapping[bytes, str]:
    """The outpoints that a transaction spends, each with its txid; none for a coinbase."""
    txid = b2lx(tx.GetTxid())
    return {_outpoint(one.prevout): txid for one in tx.vin if not one.prevout.is_null()}


def outputs_of(tx: CTransaction, *, asset: str) -> list[Output]:
    """Every output of a transaction that is worth something (R30)."""
    spends = spends_of(tx)
    txid = b2lx(tx.GetTxid())
    return [
        Output(
            txid=txid,
            position=f"out:{vout}",
            script=bytes(output.scriptPubKey),
            asset=asset,
            value=output.nValue,
            maturity=COINBASE_MATURITY if tx.is_coinbase() else 0,
            spends=tuple(spends),
        )
        for vout, output in enumerate(tx.vout)
        if 0 < output.nValue <= VALUE_SAT_MAX
    ]


def _outpoint(prevout: COutPoint) -> bytes:
    return bytes(prevout.hash) + int(prevout.n).to_bytes(4, "little")
