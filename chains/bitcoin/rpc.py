"""bitcoind's JSON-RPC over python-bitcoinlib, with every answer held against its question."""

import http.client
import itertools
from collections.abc import Sequence
from typing import Any, Final

from bitcoin.rpc import JSONRPCError, RawProxy

from chains.nodes import BlockPrunedError, NodeBlindError, NodeUnavailableError

NOT_FOUND: Final = -5
OUT_OF_RANGE: Final = -8
MISC: Final = -1
WARMING_UP: Final = -28


class RpcError(NodeUnavailableError):
    """bitcoind understood the question and refused it with ``code``."""

    def __init__(self, message: str, code: int) -> None:
        super().__init__(message)
        self.code = code


class BitcoinRpc:
    """One connection to one bitcoind; not to be shared between threads."""

    def __init__(self, *, url: str, name: str, timeout_s: float) -> None:
        """``name`` is the network's, for messages; nothing is asked yet."""
        self._name = name
        self._proxy = RawProxy(service_url=url, timeout=timeout_s)
        self._ids = itertools.count(1)

    def call(self, method: str, *params: object) -> Any:  # noqa: ANN401 -- JSON
        """Ask one question. Raises NodeUnavailableError, RpcError, BlockPrunedError."""
        return self.batch(method, [params])[0]

    def batch(self, method: str, rows: Sequence[Sequence[object]]) -> list[Any]:
        """Ask one method's question for each row of parameters, in one message.

        Raises what ``call`` raises, for the first row that is refused.
        """
        return [self._result(method, answer) for answer in self._answers(method, rows)]

    def batch_found(self, method: str, rows: Sequence[Sequence[object]]) -> list[Any]:
        """As ``batch``, with None for each row that bitcoind does not know."""
        return [
            None
            if (answer.get("error") or {}).get("code") == NOT_FOUND
            else self._result(method, answer)
            for answer in self._answers(method, rows)
        ]

    def close(self) -> None:
        """Close the connection."""
        self._proxy.close()

    def _answers(self, method: str, rows: Sequence[Sequence[object]]) -> list[dict[str, Any]]:
        if not rows:
            return []
        asked = {
            next(self._ids): {"version": "1.1", "method": method, "params": list(params)}
            for params in rows
        }
        try:
            got = self._proxy._batch(  # noqa: SLF001 -- the only call that shows the answers' ids
                [{**question, "id": number} for number, question in asked.items()]
            )
        except (OSError, http.client.HTTPException, ValueError, JSONRPCError) as error:
            raise self._unavailable(method, type(error).__name__) from None
        if not isinstance(got, list) or not all(isinstance(one, dict) for one in got):
            raise self._unavailable(method, "an answer of another shape")
        by_id = {one.get("id"): one for one in got}
        if set(by_id) != set(asked) or len(got) != len(asked):
            raise self._unavailable(method, "the answer to another question")
        return [by_id[number] for number in asked]

    def _result(self, method: str, answer: dict[str, Any]) -> Any:  # noqa: ANN401 -- JSON
        error = answer.get("error")
        if error is None:
            if answer.get("result") is None:
                raise self._unavailable(method, "no result")
            return answer["result"]
        code = error.get("code", 0) if isinstance(error, dict) else 0
        text = str(error.get("message", ""))[:200] if isinstance(error, dict) else ""
        if code == WARMING_UP:
            raise NodeBlindError(f"The node of {self._name} is starting: {text}")
        if code == MISC and "pruned" in text:
            raise BlockPrunedError(
                f"The node of {self._name} has pruned a block that was not scanned yet. Name a "
                "node that still has it in NETWORKS_FILE (endpoints); nothing was skipped."
            )
        raise RpcError(f"The node of {self._name} refuses {method}: {text} ({code})", code)

    def _unavailable(self, method: str, why: str) -> NodeUnavailableError:
        return NodeUnavailableError(
            f"The node of {self._name} (endpoints in NETWORKS_FILE) does not answer {method}: "
            f"{why}."
        )
