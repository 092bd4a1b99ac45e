"""Logs: one line for each event, as JSON outside a devnet, and no secret in any of them (R104).

Django calls ``configure`` once, when it is set up; the standard library's loggers and structlog's
write through the same handler. Secrets are struck out of the finished line, so it does not matter
which library wrote them, or whether they came in a message, a URL or a traceback.
"""

import json
import logging
import logging.config
import os
import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, Final
from urllib.parse import parse_qsl, unquote, urlsplit

import msgspec
import structlog
from django.conf import settings
from structlog.typing import Processor
from typing_extensions import override

HIDDEN: Final = "[hidden]"
CREDENTIALS: Final = re.compile(r"\b([a-z][a-z0-9+.-]*://)[^/\s@\"']+@")
EXTENDED_KEY: Final = re.compile(r"\b[xyztuvYZUV](?:pub|prv)[1-9A-HJ-NP-Za-km-z]{90,}")
SECRET_VARIABLE: Final = re.compile(r"(?:^|_)(?:KEY|PASSWORD|SECRET|TOKEN)$")
SECRET_CHARS_MIN: Final = 6
"""A shorter password is struck out of URLs alone: elsewhere it would hit innocent words."""
KEY_CHARS_MIN: Final = 12
"""A shorter part of a path is no provider's key."""
QUIET: Final = ("celery.app.trace", "celery.worker.strategy", "weasyprint", "fontTools")
"""They tell of every task that comes and goes, and of every page of a document."""


def configure(options: Mapping[str, Any]) -> None:
    """Set up logging from ``level`` and ``readable`` (lines instead of JSON): LOGGING_CONFIG."""
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *shared,
            structlog.stdlib.PositionalArgumentsFormatter(),
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
    )
    logging.config.dictConfig(
        {
            "version": 1,
            "disable_existing_loggers": False,
            "formatters": {
                "line": {
                    "()": _Formatter,
                    "foreign_pre_chain": shared,
                    "processors": [
                        structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                        *_rendering(readable=options["readable"]),
                    ],
                }
            },
            "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "line"}},
            "root": {"handlers": ["stderr"], "level": options["level"]},
            "loggers": {
                **{name: {"level": "WARNING"} for name in QUIET},
                # It tells the content of a statement that it cannot read: names and accounts.
                "mt940": {"level": "CRITICAL"},
                # Django's default gives it a handler of its own.
                "django": {"handlers": [], "propagate": True},
                "django.server": {"handlers": [], "propagate": True},
            },
        }
    )


def redact(text: str) -> str:
    """Strike out every secret that the settings, the environment or the registry hold."""
    for secret in _known():
        text = text.replace(secret, HIDDEN)
    text = CREDENTIALS.sub(rf"\g<1>{HIDDEN}@", text)
    return EXTENDED_KEY.sub(HIDDEN, text)


class _Network(msgspec.Struct):
    endpoints: list[str] = []
    push: str = ""
    account_key: str = ""


class _Registry(msgspec.Struct):
    networks: list[_Network]


class _Formatter(structlog.stdlib.ProcessorFormatter):
    @override
    def format(self, record: logging.LogRecord) -> str:
        return redact(super().format(record))


def _rendering(*, readable: bool) -> list[Processor]:
    if readable:
        # The plain traceback: another shows variables, and breaks lines within a secret.
        plain = structlog.dev.plain_traceback
        return [structlog.dev.ConsoleRenderer(colors=False, exception_formatter=plain)]
    return [
        structlog.processors.format_exc_info,
        structlog.processors.JSONRenderer(ensure_ascii=False),
    ]


def _known() -> tuple[str, ...]:
    path = Path(settings.NETWORKS_FILE)
    try:
        return _secrets_in(path, path.stat().st_mtime_ns if path.is_file() else 0)
    except OSError:
        return _secrets_in(Path(), 0)


@lru_cache(maxsize=4)
def _secrets_in(networks_file: Path, _modified_ns: int) -> tuple[str, ...]:
    """Secrets of the environment and of a registry, usable or not; the longest first."""
    found = set(_in_environment(os.environ))
    for network in _networks_of(networks_file):
        found.add(network.account_key)
        for url in (*network.endpoints, network.push):
            found.update(_in_url(url))
    # One may hold another.
    return tuple(sorted(_spellings(found), key=len, reverse=True))


def _networks_of(networks_file: Path) -> Sequence[_Network]:
    try:
        return msgspec.json.decode(networks_file.read_bytes(), type=_Registry).networks
    except (OSError, msgspec.MsgspecError):
        return ()


def _in_environment(environment: Mapping[str, str]) -> Iterator[str]:
    for name, value in environment.items():
        if SECRET_VARIABLE.search(name):
            yield value
        elif "://" in value:
            password = urlsplit(value).password
            if password:
                yield password


def _in_url(url: str) -> Iterable[str]:
    """The password, and what can be a key: providers take it as user, in a path or in a query."""
    parts = urlsplit(url)
    yield parts.password or ""
    places = [parts.username or "", *parts.path.split("/")]
    places += [value for _name, value in parse_qsl(parts.query)]
    yield from (one for one in places if len(one) >= KEY_CHARS_MIN)


def _spellings(secrets: Collection[str]) -> set[str]:
    plain = set(secrets) | {unquote(one) for one in secrets}
    quoted = {json.dumps(one, ensure_ascii=False)[1:-1] for one in plain}
    return {one for one in plain | quoted if len(one) >= SECRET_CHARS_MIN}
