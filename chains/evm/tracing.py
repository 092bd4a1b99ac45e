"""Ask a node what a block's calls moved: of the whole block, or of one transaction after the other.

Anybody can mine a transaction whose trace no node can deliver: ``callTracer`` repeats the input of
each call, so sixteen million gas are worth a hundred gigabytes. It must cost what it moved inside
itself at most, never the block, and never the blocks after it.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from chains.evm.blocks import Header, Movement
from chains.evm.native import flat_movements, frame_movements, traced_movements
from chains.evm.rpc import METHOD_NOT_FOUND, EvmRpc, RpcRefusedError, UnboundedAnswerError, octets
from chains.nodes import NodeBusyError, NodeContradictionError, NodeUnavailableError

CALL_TRACER: Final = {"tracer": "callTracer"}
PATIENCE: Final = 8
"""Failures to trace one transaction, in a row, after which a node is not asked again."""
CLEAR_FAILURE: Final = 4
"""What a refusal, or an answer without end, counts for: it tells more than a broken connection."""
REFUSED_PAUSE_S: Final = 1.0
"""Behind one URL may stand a node that has not heard of the block yet."""
NOTHING: Final = {"to": "0x" + "00" * 20}


@dataclass(frozen=True, slots=True, kw_only=True)
class Traced:
    """What a block's calls moved, and the transactions whose calls the node could not trace."""

    moved: Sequence[Movement]
    untraced: frozenset[str] = frozenset()


class Tracer:
    """One node's traces: geth's ``debug_…`` or, where a node has those alone, ``trace_…``."""

    def __init__(self, rpc: EvmRpc) -> None:
        """Ask nothing yet."""
        self._rpc, self._is_flat = rpc, False

    def trace(self, header: Header, coin: str) -> Traced:
        """Trace a block; what cannot be traced is named only if the node does well otherwise.

        Raises NodeError, also where the node forgot the states that a trace needs.
        """
        if not header.txids:
            return Traced(moved=())
        try:
            found = self._whole(header, coin)
        except NodeBusyError:
            raise
        except NodeUnavailableError as error:
            self._check_others(header, error)
            found = {}
        missing = [txid for txid in header.txids if txid not in found]
        for txid in missing:
            moved = self._patiently(txid, header, coin)
            if moved is not None:
                found[txid] = moved
        if missing:
            self._check_place(header)
        return Traced(
            moved=[one for txid in header.txids for one in found.get(txid, ())],
            untraced=frozenset(header.txids) - found.keys(),
        )

    def _whole(self, header: Header, coin: str) -> dict[str, list[Movement]]:
        block_hash = f"0x{header.ref.hash}"
        if not self._is_flat:
            try:
                traces = self._rpc.call("debug_traceBlockByHash", block_hash, CALL_TRACER)
            except RpcRefusedError as error:
                if error.code != METHOD_NOT_FOUND:
                    raise
                self._is_flat = True
            else:
                return traced_movements(header, traces, coin)
        flat = self._rpc.call("trace_block", hex(header.ref.height))
        return flat_movements(header, flat, coin, txids=header.txids)

    def _patiently(self, txid: str, header: Header, coin: str) -> list[Movement] | None:
        """What one transaction's calls moved; None where the node fails at that alone."""
        left = PATIENCE
        while left > 0:
            try:
                return self._one(txid, header, coin)
            except NodeBusyError:
                raise
            except NodeUnavailableError as error:
                if isinstance(error, RpcRefusedError):
                    time.sleep(REFUSED_PAUSE_S)
                self._check_others(header, error)
                is_clear = isinstance(error, RpcRefusedError | UnboundedAnswerError)
                left -= CLEAR_FAILURE if is_clear else 1
        return None

    def _one(self, txid: str, header: Header, coin: str) -> list[Movement]:
        if self._is_flat:
            flat = self._rpc.call("trace_transaction", f"0x{txid}")
            return flat_movements(header, flat, coin, txids=(txid,))[txid]
        trace = self._rpc.call("debug_traceTransaction", f"0x{txid}", CALL_TRACER)
        return frame_movements(txid, trace, coin)

    def _check_others(self, header: Header, error: NodeUnavailableError) -> None:
        """Raise ``error`` unless the node traces a call of nothing on both sides of the block.

        That proves that it answers, knows the block, has its states and traces at all.
        """
        if isinstance(error, RpcRefusedError) and error.code == METHOD_NOT_FOUND:
            raise error
        method = "trace_call" if self._is_flat else "debug_traceCall"
        how: Any = ["trace"] if self._is_flat else CALL_TRACER
        for block_hash in (header.ref.parent_hash, header.ref.hash):
            at = {"blockHash": f"0x{block_hash}"}
            arguments = [NOTHING, how, at] if self._is_flat else [NOTHING, at, how]
            try:
                self._rpc.call(method, *arguments)
            except NodeBusyError:
                raise
            except NodeUnavailableError:
                raise error from None

    def _check_place(self, header: Header) -> None:
        """A transaction's own trace does not say in which block it stands: its receipt does."""
        rows = [[f"0x{txid}"] for txid in header.txids]
        for receipt in self._rpc.batch("eth_getTransactionReceipt", rows):
            at = receipt.get("blockHash") if isinstance(receipt, dict) else None
            if at is None or octets(at, length=32).hex() != header.ref.hash:
                raise NodeContradictionError(
                    f"A transaction of block {header.ref.height} was traced in another block."
                )
