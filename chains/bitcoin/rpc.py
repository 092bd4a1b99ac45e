"""bitcoind's JSON-RPC, with every answer held against its question (JSON-RPC 1.1 batches)."""

import base64
import http.client
import itertools
from collections.abc import Sequence
from decimal import Decimal
from typing import Any, Final
from urllib.parse import unquote, urlsplit

import msgspec

from chains.answers import BoundedResponse
from chains.nodes import BlockPrunedError, NodeBlindError, NodeUnavailableError, words_of

NOT_FOUND: Final = -5
OUT_OF_RANGE: Final = -8
MISC: Final = -1
WARMING_UP: Final = -28

_decoder = msgspec.json.Decoder(float_hook=Decimal)


class RpcError(NodeUnavailableError):
    """bitcoind understood the question and refused it with ``code``."""

    def __init__(self, message: str, code: int) -> None:
        super().__init__(message)
        self.code = code


class BitcoinRpc:
    """One connection to one bitcoind; not to be shared between threads."""

    def __init__(self, *, url: str, name: str, timeout_s: float) -> None:
        """``name`` is the network's, for messages; nothing is asked yet."""
        parts = urlsplit(url)
        secure = parts.scheme == "https"
        kind = http.client.HTTPSConnection if secure else http.client.HTTPConnection
        self._name = name
        self._connection = kind(parts.hostname or "", parts.port, timeout=timeout_s)
        self._connection.response_class = BoundedResponse
        self._path = parts.path or "/"
        login = f"{unquote(parts.username or '')}:{unquote(parts.password or '')}"
        self._headers = {
            "Content-Type": "application/json",
            "Authorization": "Basic " + base64.b64encode(login.encode()).decode(),
        }
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
            None if _code(answer) == NOT_FOUND else self._result(method, answer)
            for answer in self._answers(method, rows)
        ]

    def close(self) -> None:
        """Close the connection; the next question opens it again."""
        self._connection.close()

    def _answers(self, method: str, rows: Sequence[Sequence[object]]) -> list[dict[str, Any]]:
        if not rows:
            return []
        asked = {
            next(self._ids): {"version": "1.1", "method": method, "params": list(params)}
            for params in rows
        }
        question = msgspec.json.encode([one | {"id": number} for number, one in asked.items()])
        status, body = self._post(method, question)
        try:
            got = _decoder.decode(body)
        except (msgspec.DecodeError, ValueError):
            raise self._unavailable(method, f"HTTP {status} and what is no JSON") from None
        if not isinstance(got, list) or not all(isinstance(one, dict) for one in got):
            raise self._unavailable(method, f"HTTP {status} and an answer of another shape")
        # An id may be anything that JSON can hold: by its text it cannot pass for another.
        by_id = {repr(one.get("id")): one for one in got}
        if set(by_id) != {repr(number) for number in asked} or len(got) != len(asked):
            raise self._unavailable(method, "the answer to another question")
        return [by_id[repr(number)] for number in asked]

    def _post(self, method: str, question: bytes) -> tuple[int, bytes]:
        """Send a question; a connection that the node closed meanwhile is opened once more."""
        reused = self._connection.sock is not None
        try:
            return self._exchange(method, question)
        except (http.client.RemoteDisconnected, BrokenPipeError, ConnectionResetError) as error:
            self.close()
            if not reused:
                raise self._unavailable(method, type(error).__name__) from None
        except (OSError, http.client.HTTPException) as error:
            self.close()
            raise self._unavailable(method, type(error).__name__) from None
        try:
            return self._exchange(method, question)
        except (OSError, http.client.HTTPException) as error:
            self.close()
            raise self._unavailable(method, type(error).__name__) from None

    def _exchange(self, method: str, question: bytes) -> tuple[int, bytes]:
        self._connection.request("POST", self._path, question, self._headers)
        with self._connection.getresponse() as response:
            if response.status in {401, 403}:
                self.close()
                raise self._unavailable(
                    method,
                    f"HTTP {response.status}: it does not accept the user and password that "
                    "endpoints name for it",
                )
            return response.status, response.read()

    def _result(self, method: str, answer: dict[str, Any]) -> Any:  # noqa: ANN401 -- JSON
        error, result = answer.get("error"), answer.get("result")
        if error is None:
            if result is None:
                raise self._unavailable(method, "no result")
            return result
        if result is not None:
            raise self._unavailable(method, "a result and an error at once")
        code = _code(answer)
        words = error.get("message", "") if isinstance(error, dict) else ""
        text = words_of(words, chars_max=200)
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


def _code(answer: dict[str, Any]) -> int:
    error = answer.get("error")
    code = error.get("code") if isinstance(error, dict) else None
    return code if isinstance(code, int) else 0
