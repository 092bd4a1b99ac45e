"""A model EVM node's answers to JSON-RPC; the adapter that reads them is the real one."""

from collections.abc import Callable, Sequence
from typing import Any, Final

from eth_utils.crypto import keccak
from typing_extensions import override

from chains.assets import Asset, Network
from chains.evm.node import EvmNode
from chains.evm.rpc import EvmRpc, RpcRefusedError
from tests.simulation.chain import Block, Tx
from tests.simulation.evm_chain import STRANGER, Envelope, Frame, Log, Run, Withdrawal
from tests.simulation.servers import Server

TRANSFER: Final = keccak(text="Transfer(address,address,uint256)")
APPROVAL: Final = keccak(text="Approval(address,address,uint256)")
LIMIT_EXCEEDED: Final = -32005


class SimulatedEvmNode(EvmNode):
    """The real adapter, connected to a model server."""

    def __init__(self, *, network: Network, assets: Sequence[Asset], server: Server) -> None:
        self._server = server
        super().__init__(network=network, assets=assets, url="http://127.0.0.1:1")

    @override
    def _connection(self, *, url: str, timeout_s: float) -> EvmRpc:
        return ModelEvmRpc(self._server, self.network.chain_id)  # type: ignore[return-value]


class ModelEvmRpc:
    """A node's answers, as ``chains.evm.rpc.EvmRpc`` hands them on."""

    def __init__(self, server: Server, chain_id: int) -> None:
        self._server, self._chain_id = server, chain_id
        self._answers: dict[str, Callable[..., Any]] = {
            "eth_chainId": self._own_chain_id,
            "eth_syncing": lambda: self._server.is_warming_up,
            "eth_blockNumber": lambda: hex(self._server.best.height),
            "eth_getBlockByNumber": self._block_by_number,
            "eth_getBlockByHash": self._block_by_hash,
            "eth_getLogs": self._logs,
            "eth_getBlockReceipts": self._receipts,
            "eth_getTransactionReceipt": self._receipt,
            "eth_getTransactionByHash": self._transaction,
            "debug_traceBlockByHash": self._traces,
            "debug_traceTransaction": self._trace_of,
            "debug_traceCall": self._traced_call,
        }

    def call(self, method: str, *params: Any) -> Any:  # noqa: ANN401 -- JSON
        """Answer one question as the server sees the chain at this moment."""
        self._server.ask(method)
        return self._answers[method](*params)

    def batch(self, method: str, rows: Sequence[Sequence[Any]]) -> list[Any]:
        """Answer some questions of one message, all at the same moment."""
        if not rows:
            return []
        self._server.ask(method)
        return [self._answers[method](*params) for params in rows]

    def _own_chain_id(self) -> str:
        return hex(self._chain_id + (self._server.mode == "foreign"))

    def _block_by_number(self, number: str, full: bool) -> Any:  # noqa: ANN401 -- JSON
        finalized = self._server.finalized
        block = finalized if number == "finalized" else self._server.block_at(int(number, 16))
        return _block(block, full=full) if block else None

    def _block_by_hash(self, block_hash: str, full: bool) -> Any:  # noqa: ANN401 -- JSON
        block = self._server.known(block_hash[2:])
        return _block(block, full=full) if block else None

    def _logs(self, query: dict[str, Any]) -> list[Any]:
        if "blockHash" in query:
            block = self._server.known(query["blockHash"][2:])
            if block is None:
                raise RpcRefusedError("unknown block", -32000)
            blocks = [block]
        else:
            first, last = int(query["fromBlock"], 16), int(query["toBlock"], 16)
            if self._server.mode == "narrow" and last > first:
                raise RpcRefusedError("range too wide", LIMIT_EXCEEDED)
            found = [self._server.best.at(height) for height in range(first, last + 1)]
            blocks = [block for block in found if block is not None]
        if self._server.mode == "logless":
            return []
        addresses, (topics,) = set(query["address"]), query["topics"]
        return [
            log
            for block in blocks
            for receipt in _receipts(block)
            for log in receipt["logs"]
            if log["address"] in addresses and log["topics"][0] in topics and _succeeded(receipt)
        ]

    def _receipts(self, block_hash: str) -> Any:  # noqa: ANN401 -- JSON
        block = self._server.known(block_hash[2:])
        return None if block is None else _receipts(block)

    def _receipt(self, txid: str) -> Any:  # noqa: ANN401 -- JSON
        for block in self._server.best.branch():
            for receipt in _receipts(block):
                if receipt["transactionHash"] == txid:
                    if self._server.mode == "contradicting":
                        other = "0x0" if _succeeded(receipt) else "0x1"
                        return {**receipt, "blockHash": f"0x{'cc' * 32}", "status": other}
                    return receipt
        return None

    def _transaction(self, txid: str) -> Any:  # noqa: ANN401 -- JSON
        if txid[2:] in self._server.waiting:
            return {"hash": txid, "blockHash": None}
        receipt = self._receipt(txid)
        return receipt and {"hash": txid, "blockHash": receipt["blockHash"]}

    def _traces(self, block_hash: str, _options: object) -> Any:  # noqa: ANN401 -- JSON
        block = self._server.known(block_hash[2:])
        if block is None:
            raise RpcRefusedError("unknown block", -32000)
        return [
            {"txHash": f"0x{tx.txid}", "result": _trace(tx.body, run)} for tx, run in _ran(block)
        ]

    def _trace_of(self, txid: str, _options: object) -> Any:  # noqa: ANN401 -- JSON
        for block in self._server.best.branch():
            for tx, run in _ran(block):
                if tx.txid == txid[2:]:
                    return _trace(tx.body, run)
        raise RpcRefusedError("transaction not found", -32000)

    def _traced_call(self, _call: object, at: dict[str, str], _options: object) -> Any:  # noqa: ANN401 -- JSON
        if self._server.known(at["blockHash"][2:]) is None:
            raise RpcRefusedError("unknown block", -32000)
        return {"type": "CALL", "value": "0x0"}


def _ran(block: Block) -> list[tuple[Tx, Run]]:
    """The transactions of a block in order, each with what it did there."""
    return [(tx, mood.detail) for tx, mood in block.mined if isinstance(tx.body, Envelope)]


def _succeeded(receipt: dict[str, Any]) -> bool:
    return bool(receipt["status"] == "0x1")


def _receipts(block: Block) -> list[Any]:
    """Every receipt of a block, made once; a log's index counts through the block."""
    if block.body is None:
        block.body = []
        index = 0
        for tx, run in _ran(block):
            place = {"transactionHash": f"0x{tx.txid}", "blockHash": f"0x{block.hash}"}
            logs = []
            for log in run.logs:
                logs.append({**_log(log), **place, "logIndex": hex(index)})
                logs[-1]["blockNumber"] = hex(block.height)
                index += 1
            block.body.append({**place, "status": hex(run.ok), "logs": logs})
    return list(block.body)


def _log(log: Log) -> dict[str, Any]:
    topics = (TRANSFER if log.is_transfer else APPROVAL, _word(STRANGER), _word(log.to))
    return {
        "address": _hex(log.contract),
        "topics": [_hex(topic) for topic in topics],
        "data": f"0x{log.value:064x}",
    }


def _block(block: Block, *, full: bool) -> dict[str, Any]:
    contracts = {log.contract for _tx, run in _ran(block) for log in run.logs}
    parent = block.parent.hash if block.parent else "0" * 64
    return {
        "number": hex(block.height),
        "hash": f"0x{block.hash}",
        "parentHash": f"0x{parent}",
        "timestamp": hex(int(block.time.timestamp())),
        "logsBloom": _hex(_bloom({TRANSFER, *contracts} if contracts else set())),
        "transactions": [
            {"hash": f"0x{tx.txid}", "to": _hex(tx.body.to), "value": hex(tx.body.value)}
            if full
            else f"0x{tx.txid}"
            for tx, _run in _ran(block)
        ],
        "withdrawals": [
            {
                "index": hex(tx.body.index),
                "address": _hex(tx.body.to),
                "amount": hex(tx.body.gwei),
            }
            for tx, _mood in block.mined
            if isinstance(tx.body, Withdrawal)
        ],
    }


def _trace(envelope: Envelope, run: Run) -> dict[str, Any]:
    trace = _frame(Frame(to=envelope.to, value=envelope.value, fails=not run.ok, below=run.frames))
    trace["calls"] = [*trace["calls"], {**trace, "type": "DELEGATECALL", "calls": []}]
    return trace


def _frame(frame: Frame) -> dict[str, Any]:
    made: dict[str, Any] = {
        "type": "CALL",
        "to": _hex(frame.to),
        "value": hex(frame.value),
        "calls": [_frame(below) for below in frame.below],
    }
    return {**made, "error": "execution reverted"} if frame.fails else made


def _bloom(values: set[bytes]) -> bytes:
    """The bloom filter of a block (Yellow Paper, 4.4.3)."""
    bits = 0
    for value in values:
        digest = keccak(value)
        for at in (0, 2, 4):
            bits |= 1 << (int.from_bytes(digest[at : at + 2], "big") & 2047)
    return bits.to_bytes(256, "big")


def _word(address: bytes) -> bytes:
    return address.rjust(32, b"\0")


def _hex(raw: bytes) -> str:
    return f"0x{raw.hex()}"
