"""Push for speed: what nodes announce makes a scan run now instead of at the next beat.

Nothing here is trusted or needed: an announcement that is lost, repeated, reordered or false
(R14) only changes when a scan runs, never what it finds.
"""

import asyncio
from collections.abc import AsyncIterator, Callable

import structlog
import zmq
import zmq.asyncio
from web3 import AsyncWeb3, WebSocketProvider

from chains.assets import Network, NetworkKind

log = structlog.get_logger(__name__)

COALESCE_S = 0.05
"""Announcements this close together become one scan (a block brings thousands)."""
RETRY_S = 2.0


async def bitcoin_announcements(network: Network) -> AsyncIterator[None]:
    """Yield once for each transaction or block that bitcoind publishes over ZMQ."""
    context = zmq.asyncio.Context.instance()
    with context.socket(zmq.SUB) as socket:
        socket.setsockopt(zmq.SUBSCRIBE, b"hashblock")
        socket.setsockopt(zmq.SUBSCRIBE, b"hashtx")
        socket.connect(network.push)
        while True:
            await socket.recv_multipart()
            yield


async def evm_announcements(network: Network) -> AsyncIterator[None]:
    """Yield once for each new head of an EVM node (``eth_subscribe``)."""
    async with AsyncWeb3(WebSocketProvider(network.push)) as node:
        await node.eth.subscribe("newHeads")
        async for _head in node.socket.process_subscriptions():
            yield


async def listen_to(network: Network, poke: Callable[[str], object]) -> None:
    """Poke for every announcement of one network, for ever; connects again after a failure."""
    announcements = (
        bitcoin_announcements if network.kind is NetworkKind.BITCOIN else evm_announcements
    )
    heard = asyncio.Event()

    async def pass_on() -> None:
        while True:
            await heard.wait()
            heard.clear()
            await asyncio.to_thread(poke, network.caip2)
            await asyncio.sleep(COALESCE_S)

    passing_on = asyncio.create_task(pass_on())
    try:
        while True:
            try:
                async for _announcement in announcements(network):
                    heard.set()
                    if passing_on.done():
                        passing_on.result()
            except (OSError, zmq.ZMQError) as error:
                log.warning("push lost, beat still scans", network=network.caip2, error=repr(error))
            await asyncio.sleep(RETRY_S)
    finally:
        passing_on.cancel()


async def listen(networks: list[Network], poke: Callable[[str], object]) -> None:
    """Listen to every network that names a push endpoint until cancelled."""
    async with asyncio.TaskGroup() as group:
        for network in networks:
            if network.push:
                group.create_task(listen_to(network, poke))
