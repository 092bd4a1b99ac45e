"""How an EVM network's own coin moved in a block: what transactions carry, and what contracts do.

Pure readings of a node's JSON. The trace of a block comes from geth's ``callTracer`` or from
``trace_block`` (OpenEthereum's form); both give a payment the same position.
"""

from collections.abc import Iterator, Sequence
from typing import Any, Final

from eth_utils.crypto import keccak

from chains.evm.blocks import Header, Movement
from chains.evm.rpc import octets, quantity
from chains.nodes import NodeContradictionError, NodeUnavailableError

GWEI: Final = 10**9
POSITION_MAX: Final = 40
MOVES_VALUE: Final = frozenset({"CALL", "CREATE", "CREATE2", "SELFDESTRUCT"})
"""Call frames that move their value; a DELEGATECALL only repeats that of its caller."""
PRECOMPILE_MAX: Final = 0xFFFF
"""Some tracers show calls to precompiled contracts and others do not: they count for no place."""
Frame = tuple[str, bytes, int]
"""A frame that moved value: its path, payee and wei."""


def top_level_movements(transactions: Sequence[Any], coin: str) -> list[Movement]:
    """What the block's own transactions carry; whether they succeeded, receipts must tell."""
    return [
        Movement(
            txid=octets(row["hash"], length=32).hex(),
            position="call:",
            address=octets(row["to"], length=20),
            asset=coin,
            value=quantity(row["value"]),
        )
        for row in transactions
        if row.get("to") and quantity(row["value"]) > 0
    ]


def traced_movements(header: Header, traces: object, coin: str) -> dict[str, list[Movement]]:
    """What the call frames of a block moved (``debug_traceBlockByHash``, callTracer), by txid.

    A frame that failed, and everything below it, moved nothing (R48, R59). A transaction that the
    node could not trace is left out. Raises NodeUnavailableError, and NodeContradictionError for
    traces of another block.
    """
    if not isinstance(traces, list) or len(traces) != len(header.txids):
        raise NodeContradictionError(
            f"Block {header.ref.height} and its traces have different transactions."
        )
    found: dict[str, list[Movement]] = {}
    for txid, trace in zip(header.txids, traces, strict=True):
        if not isinstance(trace, dict):
            raise NodeUnavailableError("The node sent what is no trace.")
        if "txHash" in trace and octets(trace["txHash"], length=32).hex() != txid:
            raise NodeContradictionError("The traces stand in another order than the block.")
        if trace.get("result") is not None:
            found[txid] = frame_movements(txid, trace["result"], coin)
    return found


def frame_movements(txid: str, root: object, coin: str) -> list[Movement]:
    """What one transaction's call frames moved (callTracer). Raises NodeUnavailableError."""
    return _movements(txid, _frames(root), coin)


def flat_movements(
    header: Header, traces: object, coin: str, *, txids: Sequence[str]
) -> dict[str, list[Movement]]:
    """What ``trace_…`` says that ``txids`` of a block moved, all that it tells of; by txid.

    Raises as ``traced_movements`` does.
    """
    if not isinstance(traces, list):
        raise NodeUnavailableError("The node sent no list of traces.")
    by_txid: dict[str, list[Any]] = {}
    for trace in traces:
        if not isinstance(trace, dict) or octets(trace.get("blockHash")).hex() != header.ref.hash:
            raise NodeContradictionError(f"A trace is not of block {header.ref.height}.")
        if trace.get("type") != "reward":
            by_txid.setdefault(octets(trace["transactionHash"]).hex(), []).append(trace)
    if set(by_txid) != set(txids):
        raise NodeContradictionError(
            f"Block {header.ref.height} and its traces have different transactions."
        )
    return {txid: _movements(txid, _flat_frames(by_txid[txid]), coin) for txid in txids}


def withdrawal_movements(header: Header, coin: str) -> list[Movement]:
    """What the consensus layer paid out in a block (EIP-4895); an index is used once for ever."""
    return [
        Movement(
            txid=f"withdrawal-{quantity(row['index'])}",
            position="withdrawal:",
            address=octets(row["address"], length=20),
            asset=coin,
            value=quantity(row["amount"]) * GWEI,
        )
        for row in header.raw.get("withdrawals") or ()
        if quantity(row["amount"]) > 0
    ]


def _movements(txid: str, frames: Iterator[Frame], coin: str) -> list[Movement]:
    return [
        Movement(txid=txid, position=_position(path), address=to, asset=coin, value=value)
        for path, to, value in frames
    ]


def _frames(root: Any) -> Iterator[Frame]:  # noqa: ANN401 -- JSON
    """Every frame of a callTracer's tree that moved value."""
    waiting = [("", root)]
    while waiting:
        path, frame = waiting.pop()
        if not isinstance(frame, dict):
            raise NodeUnavailableError("The node sent what is no trace.")
        if frame.get("error"):
            continue
        value = quantity(frame.get("value") or "0x0")
        if value > 0 and frame.get("type") in MOVES_VALUE and frame.get("to"):
            yield path, octets(frame["to"], length=20), value
        below = [one for one in frame.get("calls") or () if not _is_precompile(one.get("to"))]
        waiting += [(_below(path, number), one) for number, one in enumerate(below)]


def _flat_frames(traces: Sequence[Any]) -> Iterator[Frame]:
    """Every entry of one transaction's flat trace that moved value, by the same paths."""
    root: dict[str, Any] = {}
    nodes: dict[tuple[int, ...], dict[str, Any]] = {}
    for trace in traces:
        address = tuple(trace["traceAddress"])
        frame = _as_frame(trace)
        nodes[address] = frame
        if address:
            nodes[address[:-1]]["calls"].append(frame)
        else:
            root = frame
    return _frames(root)


def _as_frame(trace: dict[str, Any]) -> dict[str, Any]:
    """One entry of ``trace_block`` in the form of callTracer's frames."""
    action, kind = trace["action"], trace["type"]
    result = trace.get("result") or {}
    frame: dict[str, Any] = {"calls": [], "error": trace.get("error")}
    match kind:
        case "suicide" | "selfdestruct":
            to, value = action.get("refundAddress"), action.get("balance")
            return frame | {"type": "SELFDESTRUCT", "to": to, "value": value}
        case "create":
            return frame | {
                "type": "CREATE",
                "to": result.get("address"),
                "value": action.get("value"),
            }
        case "call":
            called = str(action.get("callType", "call")).upper()
            return frame | {"type": called, "to": action.get("to"), "value": action.get("value")}
        case _:
            raise NodeUnavailableError("The node sent a trace of an unknown kind.")


def _is_precompile(address: object) -> bool:
    return isinstance(address, str) and 0 < int(address, 16) <= PRECOMPILE_MAX


def _below(path: str, number: int) -> str:
    return f"{path}.{number}" if path else str(number)


def _position(path: str) -> str:
    position = f"call:{path}"
    if len(position) <= POSITION_MAX:
        return position
    return f"call:#{keccak(text=path).hex()[: POSITION_MAX - 6]}"
