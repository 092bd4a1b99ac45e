"""Push for speed: what nodes announce makes a scan run now instead of at the next beat.

Nothing here is trusted or needed: an announcement that is lost, repeated, reordered or false
(R14) only changes when a scan runs, never what it finds. So whatever a push endpoint does costs its
own network seconds, and the other networks nothing.
"""

import asyncio
import json
import time
from collections.abc import AsyncGenerator, Callable, Iterable
from contextlib import aclosing
from typing import Final

import structlog
import zmq
import zmq.asyncio
from websockets.asyncio.client import connect

from chains.assets import Network, NetworkKind

log = structlog.get_logger(__name__)

POKE_GAP_S: Final = 0.25
"""A network is poked at once, then so often at most: a block brings thousands of announcements."""
SILENCE_S_MAX: Final = 20.0
"""A connection that answers no heartbeat for so long is given up."""
PAUSE_S_MIN: Final = 1.0
PAUSE_S_MAX: Final = 60.0

SUBSCRIBE: Final = json.dumps(
    {"jsonrpc": "2.0", "id": 1, "method": "eth_subscribe", "params": ["newHeads"]}
)


class SubscriptionRefusedError(Exception):
    """The node does not announce new heads."""


async def bitcoin_announcements(network: Network) -> AsyncGenerator[None]:
    """Yield for each transaction or block that bitcoind publishes; ZMQ reconnects by itself."""
    with zmq.asyncio.Context.instance().socket(zmq.SUB) as socket:
        heartbeat_ms = int(SILENCE_S_MAX * 1000)
        socket.setsockopt(zmq.HEARTBEAT_IVL, heartbeat_ms // 2)
        socket.setsockopt(zmq.HEARTBEAT_TIMEOUT, heartbeat_ms)
        socket.setsockopt(zmq.SUBSCRIBE, b"hashblock")
        socket.setsockopt(zmq.SUBSCRIBE, b"hashtx")
        socket.connect(network.push)
        while True:
            await socket.recv_multipart()
            yield


async def evm_announcements(network: Network) -> AsyncGenerator[None]:
    """Yield for each new head of an EVM node, and once when connected; raises when it drops."""
    async with connect(
        network.push,
        open_timeout=SILENCE_S_MAX,
        ping_interval=SILENCE_S_MAX / 2,
        ping_timeout=SILENCE_S_MAX,
    ) as socket:
        await socket.send(SUBSCRIBE)
        answer = json.loads(await asyncio.wait_for(socket.recv(), SILENCE_S_MAX))
        if "result" not in answer:
            raise SubscriptionRefusedError
        yield  # what came while nobody listened
        while True:
            await socket.recv()
            yield


async def listen(networks: Iterable[Network], poke: Callable[[str], object]) -> None:
    """Listen to every network that names a push endpoint until cancelled; ``poke`` may block."""
    async with asyncio.TaskGroup() as group:
        for network in networks:
            if network.push:
                heard = asyncio.Event()
                group.create_task(_hear(network, heard))
                group.create_task(_pass_on(network, heard, poke))


async def _hear(network: Network, heard: asyncio.Event) -> None:
    """Note every announcement, for ever; connect again after a pause that doubles."""
    announcements = (
        bitcoin_announcements if network.kind is NetworkKind.BITCOIN else evm_announcements
    )
    pause_s = PAUSE_S_MIN
    while True:
        began = time.monotonic()
        try:
            async with aclosing(announcements(network)) as stream:
                async for _announcement in stream:
                    heard.set()
        except Exception as error:  # noqa: BLE001 -- whatever it is, the others go on
            _log_loss("push lost", network, error)
        if time.monotonic() - began > PAUSE_S_MAX:
            pause_s = PAUSE_S_MIN
        await asyncio.sleep(pause_s)
        pause_s = min(PAUSE_S_MAX, 2 * pause_s)


async def _pass_on(network: Network, heard: asyncio.Event, poke: Callable[[str], object]) -> None:
    """Poke for what was heard, many announcements as one."""
    while True:
        await heard.wait()
        heard.clear()
        try:
            await asyncio.to_thread(poke, network.caip2)
        except Exception as error:  # noqa: BLE001 -- the broker is away: the beat pokes later
            _log_loss("poke lost", network, error)
        await asyncio.sleep(POKE_GAP_S)


def _log_loss(what: str, network: Network, error: Exception) -> None:
    # The type alone: the message may repeat a URL, and with it a key.
    log.warning(what, network=network.caip2, error=type(error).__name__, instead="beat still scans")
