"""An EVM node's JSON-RPC through web3's provider, with every answer held against its question."""

import re
from collections.abc import Sequence
from typing import Any, Final

import msgspec
import requests
from web3 import HTTPProvider
from web3.types import RPCEndpoint

from chains.nodes import NodeUnavailableError

METHOD_NOT_FOUND: Final = -32601
BATCH: Final = 50
NOT_ACCEPTED: Final = ": it does not accept the user, password or key that endpoints name for it"
REFUSED: Final = {401: NOT_ACCEPTED, 403: NOT_ACCEPTED}
FAILURES: Final = (requests.RequestException, OSError, ValueError, msgspec.MsgspecError)


class RpcRefusedError(NodeUnavailableError):
    """The node understood the question and refused it with ``code``."""

    def __init__(self, message: str, code: int) -> None:
        super().__init__(message)
        self.code = code


class EvmRpc:
    """Questions to one node; ``name`` is its network's, for messages."""

    def __init__(self, *, url: str, name: str, timeout_s: float) -> None:
        """Ask nothing yet."""
        self._name = name
        # No retries in here: the pool knows other nodes to ask meanwhile.
        self._provider = HTTPProvider(
            url, request_kwargs={"timeout": timeout_s}, exception_retry_configuration=None
        )

    def call(self, method: str, *params: object) -> Any:  # noqa: ANN401 -- JSON
        """Ask one question; None where the node answers null.

        Raises NodeUnavailableError, RpcRefusedError.
        """
        return self._result(method, self._answers([(method, params)], alone=True)[0])

    def batch(self, method: str, rows: Sequence[Sequence[object]]) -> list[Any]:
        """Ask one method's question for each row of parameters, some in one message."""
        results: list[Any] = []
        for start in range(0, len(rows), BATCH):
            asked = [(method, row) for row in rows[start : start + BATCH]]
            answers = self._answers(asked, alone=False)
            results += [self._result(method, answer) for answer in answers]
        return results

    def _answers(
        self, asked: Sequence[tuple[str, Sequence[object]]], *, alone: bool
    ) -> list[dict[str, Any]]:
        method = asked[0][0]
        encode = self._provider.encode_rpc_request
        messages = [encode(RPCEndpoint(name), list(params)) for name, params in asked]
        ids = [msgspec.json.decode(message)["id"] for message in messages]
        body = messages[0] if alone else b"[" + b",".join(messages) + b"]"
        try:
            raw = self._provider._make_request(RPCEndpoint(method), body)  # noqa: SLF001 -- shows ids
            said = msgspec.json.decode(raw)
        except requests.HTTPError as error:
            status = error.response.status_code if error.response is not None else 0
            raise self._unavailable(method, f"HTTP {status}{REFUSED.get(status, '')}") from None
        except FAILURES as error:
            raise self._unavailable(method, type(error).__name__) from None
        got = [said] if alone else said
        if not isinstance(got, list) or not all(isinstance(one, dict) for one in got):
            raise self._unavailable(method, "an answer of another shape")
        by_id = {one.get("id"): one for one in got}
        if set(by_id) != set(ids) or len(got) != len(ids):
            raise self._unavailable(method, "the answer to another question")
        return [by_id[number] for number in ids]

    def _result(self, method: str, answer: dict[str, Any]) -> Any:  # noqa: ANN401 -- JSON
        error = answer.get("error")
        if error is not None:
            code = error.get("code", 0) if isinstance(error, dict) else 0
            text = str(error.get("message", ""))[:120] if isinstance(error, dict) else ""
            raise RpcRefusedError(f"The node of {self._name} refuses {method}: {text}", code)
        if "result" not in answer:
            raise self._unavailable(method, "no result")
        return answer["result"]

    def _unavailable(self, method: str, why: str) -> NodeUnavailableError:
        return NodeUnavailableError(
            f"The node of {self._name} (endpoints in NETWORKS_FILE) does not answer {method}: "
            f"{why}."
        )


def quantity(text: object) -> int:
    """A JSON-RPC quantity (``0x1f``) as an int. Raises NodeUnavailableError."""
    if not isinstance(text, str) or not re.fullmatch(r"0x[0-9a-fA-F]{1,64}", text):
        raise NodeUnavailableError("The node sent what is no quantity.")
    return int(text, 16)


def octets(text: object, *, length: int | None = None) -> bytes:
    """JSON-RPC data (``0x…``) as bytes, of a ``length`` where one is due.

    Raises NodeUnavailableError.
    """
    data = None
    if isinstance(text, str) and re.fullmatch(r"0x(?:[0-9a-fA-F]{2})*", text):
        data = bytes.fromhex(text[2:])
    if data is None or (length is not None and len(data) != length):
        raise NodeUnavailableError("The node sent what is no data.")
    return data
