"""An EVM node's JSON-RPC through web3's provider, with every answer held against its question."""

import re
import sys
from collections.abc import Sequence
from typing import Any, Final

import msgspec
import requests
from requests.adapters import HTTPAdapter
from typing_extensions import override
from urllib3 import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.connection import HTTPConnection, HTTPSConnection
from web3 import HTTPProvider
from web3.types import RPCEndpoint

from chains.answers import ANSWER_BYTES_MAX, READ_BYTES, BoundedResponse, EndlessAnswerError
from chains.evm.limits import BATCH_MAX, LearnedLimit
from chains.nodes import NodeBusyError, NodeUnavailableError, words_of

METHOD_NOT_FOUND: Final = -32601
NOT_ACCEPTED: Final = ": it does not accept the user, password or key that endpoints name for it"
REFUSED: Final = {401: NOT_ACCEPTED, 403: NOT_ACCEPTED}
FAILURES: Final = (
    requests.RequestException,
    OSError,
    ValueError,
    RecursionError,
    msgspec.MsgspecError,
)
NESTED_MAX: Final = 2_500
"""Calls nest 1,024 deep at most, and callTracer writes two levels of JSON for each.

Python's own limit of 1,000 would let anybody's deep transaction stop the scan at its block.
"""
TOO_MANY_REQUESTS: Final = 429
BATCH_REFUSALS: Final = frozenset({400, 405, 413, 414})
"""HTTP answers to a message that holds too many questions."""
BUSY_CODES: Final = frozenset({429, -32005, -32029})
REVERTED: Final = 3
"""What nodes refuse a rehearsed call with when its contract reverts, in words of the contract."""
TOO_WIDE: Final = re.compile(
    r"range|results|blocks|response size|logs|too large|limited to", re.IGNORECASE
)
TOO_OFTEN: Final = re.compile(
    r"too many requests|rate.?limit|per second|capacity|throughput|throttl|quota|daily request",
    re.IGNORECASE,
)


class RpcRefusedError(NodeUnavailableError):
    """The node understood the question and refused it with ``code``."""

    def __init__(self, message: str, code: int) -> None:
        super().__init__(message)
        self.code = code


class UnboundedAnswerError(NodeUnavailableError):
    """The node's answer takes too long, or is too large."""


class _BatchRefusedError(Exception):
    """The node takes no message with so many questions."""


class _Connection(HTTPConnection):
    response_class = BoundedResponse


class _Connections(HTTPConnectionPool):
    ConnectionCls = _Connection


class _SecureConnection(HTTPSConnection):
    response_class = BoundedResponse


class _SecureConnections(HTTPSConnectionPool):
    ConnectionCls = _SecureConnection


class _BoundedAdapter(HTTPAdapter):
    @override
    def init_poolmanager(self, *arguments: Any, **options: Any) -> None:
        super().init_poolmanager(*arguments, **options)
        self.poolmanager.pool_classes_by_scheme = {
            "http": _Connections,
            "https": _SecureConnections,
        }

    @override
    def send(self, *arguments: Any, **options: Any) -> requests.Response:
        """Read an answer whole, and bound what it unpacks to.

        A node may send nobody elsewhere: that could be a host that only we can reach (R80).
        """
        response = super().send(*arguments, **options)
        if response.is_redirect:
            response.close()
            raise requests.TooManyRedirects
        parts, size = [], 0
        for part in response.iter_content(READ_BYTES):
            parts.append(part)
            size += len(part)
            if size > ANSWER_BYTES_MAX:
                response.close()
                raise EndlessAnswerError
        response._content = b"".join(parts)  # noqa: SLF001 -- as reading ``content`` does
        return response


class EvmRpc:
    """Questions to one node; ``name`` is its network's, for messages."""

    def __init__(
        self, *, url: str, name: str, timeout_s: float, batch: LearnedLimit | None = None
    ) -> None:
        """Ask nothing yet; ``batch`` is how many questions the node takes in one message."""
        self._name = name
        self._batch = batch or LearnedLimit(BATCH_MAX)
        # No retries in here: the pool knows other nodes to ask meanwhile.
        self._provider = HTTPProvider(
            url,
            request_kwargs={"timeout": timeout_s},
            session=_session(),
            exception_retry_configuration=None,
        )

    def call(self, method: str, *params: object) -> Any:  # noqa: ANN401 -- JSON
        """Ask one question; None where the node answers null.

        Raises NodeUnavailableError, NodeBusyError, RpcRefusedError.
        """
        return self._result(method, self._answers(method, [params], alone=True)[0])

    def batch(self, method: str, rows: Sequence[Sequence[object]]) -> list[Any]:
        """Ask one method's question for each row of parameters, some in one message.

        Raises as ``call`` does.
        """
        results: list[Any] = []
        while len(results) < len(rows):
            part = rows[len(results) : len(results) + self._batch.size]
            try:
                answers = self._answers(method, part, alone=len(part) == 1)
            except _BatchRefusedError:
                self._batch.refuse(len(part))
                continue
            self._batch.allow(len(part))
            results += [self._result(method, answer) for answer in answers]
        return results

    def _answers(
        self, method: str, rows: Sequence[Sequence[object]], *, alone: bool
    ) -> list[dict[str, Any]]:
        encode = self._provider.encode_rpc_request
        messages = [encode(RPCEndpoint(method), list(params)) for params in rows]
        ids = [msgspec.json.decode(message)["id"] for message in messages]
        body = messages[0] if alone else b"[" + b",".join(messages) + b"]"
        said = self._post(method, body, alone=alone)
        if not alone and isinstance(said, dict) and said.get("error"):
            self._raise_if_busy(method, said["error"])
            raise _BatchRefusedError
        got = [said] if alone else said
        if not isinstance(got, list) or not all(isinstance(one, dict) for one in got):
            raise self._unavailable(method, "an answer of another shape")
        by_id = {one.get("id"): one for one in got}
        if set(by_id) != set(ids) or len(got) != len(ids):
            raise self._unavailable(method, "the answer to another question")
        return [by_id[number] for number in ids]

    def _post(self, method: str, body: bytes, *, alone: bool) -> Any:  # noqa: ANN401 -- JSON
        try:
            raw = self._provider._make_request(RPCEndpoint(method), body)  # noqa: SLF001 -- shows ids
            return _decoded(raw)
        except requests.HTTPError as error:
            response = error.response
            status = 0 if response is None else response.status_code
            if response is not None and status == TOO_MANY_REQUESTS:
                wait = response.headers.get("Retry-After", "")
                raise NodeBusyError(
                    f"The node of {self._name} wants to be asked less often.",
                    retry_after_s=float(wait) if wait.isdecimal() else 0.0,
                ) from None
            if not alone and status in BATCH_REFUSALS:
                raise _BatchRefusedError from None
            raise self._unavailable(method, f"HTTP {status}{REFUSED.get(status, '')}") from None
        except FAILURES as error:
            failure = self._unavailable(method, type(error).__name__)
            raise (UnboundedAnswerError(str(failure)) if _had_no_end(error) else failure) from None

    def _result(self, method: str, answer: dict[str, Any]) -> Any:  # noqa: ANN401 -- JSON
        error = answer.get("error")
        if error is not None:
            self._raise_if_busy(method, error)
            code, text = _said(error)
            raise RpcRefusedError(f"The node of {self._name} refuses {method}: {text}", code)
        if "result" not in answer:
            raise self._unavailable(method, "no result")
        return answer["result"]

    def _raise_if_busy(self, method: str, error: object) -> None:
        """Tell a node that is asked too often from one that is asked for too much."""
        code, text = _said(error)
        if code == REVERTED:
            return
        if TOO_OFTEN.search(text) or (code in BUSY_CODES and not TOO_WIDE.search(text)):
            raise NodeBusyError(f"The node of {self._name} is asked too often: {method}: {text}")

    def _unavailable(self, method: str, why: str) -> NodeUnavailableError:
        return NodeUnavailableError(
            f"The node of {self._name} (endpoints in NETWORKS_FILE) does not answer {method}: "
            f"{why}."
        )


def _session() -> requests.Session:
    """A session whose answers end."""
    session = requests.Session()
    session.mount("http://", _BoundedAdapter())
    session.mount("https://", _BoundedAdapter())
    return session


def _had_no_end(error: BaseException | None) -> bool:
    """Whether an answer was given up for its time or size, however libraries wrapped that."""
    while error is not None:
        if isinstance(error, requests.ReadTimeout | EndlessAnswerError):
            return True
        error = error.__context__
    return False


def _decoded(raw: bytes) -> Any:  # noqa: ANN401 -- JSON
    if sys.getrecursionlimit() < NESTED_MAX:
        sys.setrecursionlimit(NESTED_MAX)
    return msgspec.json.decode(raw)


def _said(error: object) -> tuple[int, str]:
    """Code and words of a JSON-RPC error, however odd."""
    if not isinstance(error, dict):
        return 0, ""
    code = error.get("code")
    words = words_of(error.get("message", ""), chars_max=120)
    return code if isinstance(code, int) else 0, words


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
