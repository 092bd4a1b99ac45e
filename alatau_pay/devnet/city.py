"""A whole city in processes: engines, nodes, web, live events, workers, beat and listener.

The demo and the journeys in the tests run the very same processes that production runs; only
their endpoints differ. Everything lives in one temporary folder and dies with the city.
"""

import contextlib
import os
import secrets
import shlex
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from typing_extensions import override

from alatau_pay.devnet.nodes import Devnet, start_devnet
from alatau_pay.devnet.processes import free_port
from alatau_pay.devnet.wallet_service import serve_wallet
from alatau_pay.engines import REPOSITORY, start_engines
from alatau_pay.workers import WORKERS

RATES: Final = "BTC=45000000,ETH=1500000,USDT=475,USDC=475"
STOP_S: Final = 10.0


class CityDidNotStartError(RuntimeError):
    """A process of the city ended or stayed silent; the message says which and where its log is."""


def port_or_another(preferred: int) -> int:
    """Return ``preferred`` when nobody has that loopback port, else one that is free."""
    with socket.socket() as probe, contextlib.suppress(OSError):
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind(("127.0.0.1", preferred))
        return int(probe.getsockname()[1])
    return free_port()


@dataclass
class City:
    """A running city; ``environment`` is what its processes see, ``settings`` what is its own."""

    folder: Path
    devnet: Devnet
    settings: Mapping[str, str]
    environment: Mapping[str, str]
    public_url: str
    processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    def start(self, name: str, *arguments: str) -> subprocess.Popen[bytes]:
        """Start a process of the city under ``name``; its output goes to ``<name>.log``."""
        log = (self.folder / f"{name}.log").open("ab")
        with log:
            process = subprocess.Popen(
                [sys.executable, *arguments],
                cwd=REPOSITORY,
                env=dict(self.environment),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                # A group of its own: Ctrl-C reaches the city only through stop().
                start_new_session=True,
            )
        self.processes[name] = process
        return process

    def start_workers(self) -> None:
        """Start both Celery workers, as ``WORKERS`` names them."""
        quiet = ["--loglevel", "INFO", "--without-gossip", "--without-mingle"]
        command = ["-m", "celery", "-A", "alatau_pay.celery", "worker", *quiet]
        for name, options in WORKERS.items():
            self.start(name, *command, *options, "--hostname", f"{name}@city")

    def write_settings(self) -> Path:
        """Write a file for a shell to read, with which commands work on this city; its path.

        It names a gas payer too, whom the workers do without: an operator's shell sends sweeps.
        """
        path = self.folder / "settings.sh"
        named = {**self.settings, "GAS_PAYER_KEY": self.devnet.evm.gas_payer_key}
        lines = [f"export {name}={shlex.quote(value)}\n" for name, value in named.items()]
        path.touch(mode=0o600)
        path.write_text("".join(lines))
        return path

    def kill(self, name: str) -> None:
        """End one process and its children as a power cut would: SIGKILL."""
        process = self.processes.pop(name)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()

    def stop(self) -> None:
        """Ask every process to end, insist after ten seconds."""
        for process in self.processes.values():
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGTERM)
        deadline = time.monotonic() + STOP_S
        for process in self.processes.values():
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(max(0.1, deadline - time.monotonic()))
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        self.processes.clear()

    def wait_for(self, name: str, url: str, *, timeout_s: float = 40.0) -> None:
        """Wait until ``url`` answers; raises CityDidNotStartError when it never does."""
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            if self.processes[name].poll() is not None:
                break
            with contextlib.suppress(OSError), urllib.request.urlopen(url, timeout=2):  # noqa: S310 -- our own loopback
                return
            time.sleep(0.1)
        raise CityDidNotStartError(
            f"{name} did not start. The end of its log:\n{self.log_of(name)}"
        )

    def log_of(self, name: str) -> str:
        """The end of what a process has printed."""
        return (self.folder / f"{name}.log").read_text(errors="replace")[-3000:]


@contextmanager
def city_in(folder: Path, *, port: int = 0) -> Iterator[City]:
    """Bring up a city in ``folder`` and take it down again; yields once every face answers.

    Its engines are its own, whatever the environment names: no demo writes into a real ledger.
    """
    with ExitStack() as stack:
        engines = stack.enter_context(start_engines(folder / "engines", durable=False))
        devnet = stack.enter_context(start_devnet(folder / "nodes"))
        networks_file, temporary = folder / "networks.json", folder / "tmp"
        temporary.mkdir()
        devnet.write_networks_file(networks_file)
        wallet_url = stack.enter_context(serve_wallet(devnet.resident))
        web_port, live_port = port_or_another(port), free_port()
        public_url, live_url = f"http://127.0.0.1:{web_port}", f"http://127.0.0.1:{live_port}"
        settings = {
            "DATABASE_URL": engines.database_url,
            "REDIS_URL": engines.redis_url,
            "NETWORKS_FILE": str(networks_file),
            "DEVNET": "1",
            "DEVNET_WALLET_URL": wallet_url,
            "FIXED_RATES": RATES,
            "SECRET_KEY": secrets.token_urlsafe(48),
            "PUBLIC_URL": public_url,
            "LIVE_URL": live_url,
            "ALLOWED_HOSTS": "127.0.0.1,localhost",
            "DJANGO_SETTINGS_MODULE": "alatau_pay.settings",
        }
        environment = os.environ | settings
        environment |= {
            "PYTHONUNBUFFERED": "1",
            # What multiprocessing leaves behind when it is killed goes with the folder.
            "TMPDIR": str(temporary),
        }
        city = City(
            folder=folder,
            devnet=devnet,
            settings=settings,
            environment=environment,
            public_url=public_url,
        )
        stack.callback(city.stop)
        _manage(environment, "migrate", "--verbosity", "0")
        granian = ("-m", "granian", "--host", "127.0.0.1", "--no-ws", "--workers", "1")
        wsgi = ("--interface", "wsgi", "--port", str(web_port), "alatau_pay.wsgi:application")
        city.start("web", *granian, "--blocking-threads", "8", *wsgi)
        asgi = ("--interface", "asgi", "--port", str(live_port), "alatau_pay.live:application")
        city.start("live", *granian, *asgi)
        city.start_workers()
        schedule = ("--schedule", str(folder / "beat"), "--pidfile", "")
        city.start("beat", "-m", "celery", "-A", "alatau_pay.celery", "beat", *schedule)
        city.start("listen", "manage.py", "listen")
        city.wait_for("web", f"{public_url}/health")
        city.wait_for("live", f"{live_url}/live/health")
        yield city


def _manage(environment: Mapping[str, str], *arguments: str) -> None:
    command = [sys.executable, "manage.py", *arguments]
    subprocess.run(command, cwd=REPOSITORY, env=dict(environment), check=True)


class Miner(threading.Thread):
    """Mines a block on both nodes every ``every_s`` seconds, as a living chain would."""

    def __init__(self, devnet: Devnet, *, every_s: float) -> None:
        super().__init__(daemon=True)
        self.devnet, self.every_s, self.stopped = devnet, every_s, threading.Event()

    @override
    def run(self) -> None:
        """Mine until ``stopped`` is set."""
        while not self.stopped.wait(self.every_s):
            self.devnet.bitcoin.mine(1)
            self.devnet.evm.mine(1)
