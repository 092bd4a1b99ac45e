"""A sweeper that is killed between any two steps, and two that run at once: one sweep."""

import contextlib
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import quote
from uuid import UUID

import psycopg
import pytest
import requests
from django.db import connection
from typing_extensions import override

from alatau_pay.engines import REPOSITORY
from alatau_pay.pipeline import follow_sweeps
from chains.models import Sweep, SweepAttempt, SweepItem
from chains.sweeping import sending
from chains.sweeping.ends import unbooked_ends
from chains.sweeping.planning import SweepPlan, SweepRefusedError
from chains.sweeping.sending import SendOutcome, SweepSent
from settlement.models import JournalEntry
from tests.chains.sweeping.conftest import Sweeping
from tests.waiting import wait_until

pytestmark = pytest.mark.usefixtures("committed")

SIGKILLED = -9
WORTH = 40_000_000


@contextmanager
def another_session() -> Iterator[psycopg.Connection]:
    parameters = connection.get_connection_params()
    wanted = {
        key: parameters[key] for key in ("dbname", "user", "host", "port") if key in parameters
    }
    with psycopg.connect(**wanted) as session:
        yield session


def database_url() -> str:
    place = connection.settings_dict
    host = quote(place["HOST"], safe="")
    return f"postgresql://{place['USER']}@/{place['NAME']}?host={host}"


def start(sweeping: Sweeping, *arguments: str) -> subprocess.Popen[str]:
    """A sweeper of its own, as an operator would start it."""
    return subprocess.Popen(
        [sys.executable, "manage.py", "sweep", *arguments],
        cwd=REPOSITORY,
        env=os.environ
        | {
            "DATABASE_URL": database_url(),
            "NETWORKS_FILE": str(sweeping.file),
            "GAS_PAYER_KEY": sweeping.key,
        },
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


class Trap:
    """Kills a process the moment it asks the node for something."""

    def __init__(self, method: str, *, answered: bool) -> None:
        self.method, self.answered = method, answered
        self.victim: subprocess.Popen[str] | None = None
        self.armed = threading.Event()
        self.url = ""

    def spring(self) -> None:
        assert self.armed.wait(30)
        assert self.victim is not None
        self.victim.kill()


@contextmanager
def trap_at(upstream: str, method: str, *, answered: bool) -> Iterator[Trap]:
    """A node whose answer to ``method`` nobody lives to hear; ``answered`` says if it was done."""
    trap = Trap(method, answered=answered)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            raw = self.rfile.read(int(self.headers["Content-Length"]))
            springs = f'"{trap.method}"'.encode() in raw
            if springs and not trap.answered:
                trap.spring()
                self.close_connection = True
                return
            headers = {"Content-Type": "application/json"}
            body = requests.post(upstream, data=raw, headers=headers, timeout=30).content
            if springs:
                trap.spring()
                self.close_connection = True
                return
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            with contextlib.suppress(OSError):
                self.wfile.write(body)

        @override
        def log_message(self, *_arguments: object) -> None:
            """Stay silent."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    trap.url = f"http://127.0.0.1:{server.server_address[1]}"
    try:
        yield trap
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.fixture
def planned(sweeping: Sweeping) -> SweepPlan:
    sweeping.pay("USDT", WORTH)
    sweeping.settle()
    return sweeping.plan()


def killed_at(sweeping: Sweeping, method: str, *, answered: bool, step: tuple[str, ...]) -> None:
    """Run one step of a sweeper and kill it at a question to the node."""
    honest = list(sweeping.network.endpoints)
    with trap_at(honest[0], method, answered=answered) as trap:
        sweeping.change_network(endpoints=[trap.url])
        trap.victim = start(sweeping, *step)
        trap.armed.set()
        trap.victim.communicate(timeout=120)
        assert trap.victim.returncode == SIGKILLED
    sweeping.change_network(endpoints=honest)


def check_swept_once(sweeping: Sweeping) -> None:
    """After however many restarts: one nonce, one booking, all coins, and nothing left to do."""
    for _restart in range(2):
        sweeping.settle()
        follow_sweeps(sweeping.network.caip2)
    assert sweeping.in_treasury("USDT") == WORTH
    assert [sweep.state for sweep in Sweep.objects.exclude(state="planned")] == ["done"]
    web3 = sweeping.devnet.evm.web3()
    assert web3.eth.get_transaction_count(sweeping.payer.address) == 1
    assert sorted(JournalEntry.objects.values_list("kind", flat=True)) == ["sweep", "sweep_gas"]
    assert unbooked_ends(network=sweeping.network.caip2) == []
    assert sweeping.plan().sweeps == ()


@pytest.mark.case("R113")
@pytest.mark.parametrize(
    ("method", "answered", "attempts"),
    [
        ("eth_estimateGas", True, 0),
        ("eth_getTransactionCount", True, 0),
        ("eth_sendRawTransaction", False, 1),
        ("eth_sendRawTransaction", True, 1),
    ],
    ids=["rehearsed", "before signing", "stored and not sent", "sent and not heard of"],
)
def test_a_sweeper_killed_at_a_question_to_the_node(
    method: str, answered: bool, attempts: int, sweeping: Sweeping, planned: SweepPlan
) -> None:
    killed_at(sweeping, method, answered=answered, step=("--send", str(planned.id)))
    assert SweepAttempt.objects.count() == attempts
    if not attempts:
        assert [one.outcome for one in sweeping.send(planned)] == [SendOutcome.SENT]
    else:
        with pytest.raises(SweepRefusedError, match="sent before"):
            sweeping.send(planned)
    check_swept_once(sweeping)
    assert SweepAttempt.objects.count() == 1


@pytest.mark.case("R113")
def test_a_sweeper_killed_between_signing_and_storing(
    sweeping: Sweeping, planned: SweepPlan
) -> None:
    with another_session() as session:
        session.execute("LOCK TABLE chains_sweepattempt IN SHARE MODE")
        victim = start(sweeping, "--send", str(planned.id))
        waits = "SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = %s::regclass"
        with another_session() as watcher:
            wait_until(
                lambda: watcher.execute(waits, ["chains_sweepattempt"]).fetchone() == (1,),
                timeout_s=60,
            )
        victim.kill()
        victim.communicate(timeout=30)
        session.rollback()
    assert SweepAttempt.objects.count() == 0
    wait_until(lambda: not SweepItem.objects.filter(live=True).exists())
    sweeping.send(planned)
    check_swept_once(sweeping)


@pytest.mark.case("R113")
@pytest.mark.parametrize("method", ["eth_getTransactionReceipt", "eth_getTransactionCount"])
def test_a_follower_killed_before_it_records(
    method: str, sweeping: Sweeping, planned: SweepPlan
) -> None:
    sweeping.send(planned)
    sweeping.settle()
    killed_at(sweeping, method, answered=True, step=("--follow",))
    check_swept_once(sweeping)


def at_once(*what: Callable[[], object]) -> list[object]:
    """Run things in threads that start together; their results, or what they raised."""
    barrier = threading.Barrier(len(what))
    results: list[object] = [None] * len(what)

    def run(place: int) -> None:
        barrier.wait()
        try:
            results[place] = what[place]()
        except SweepRefusedError as error:
            results[place] = error
        finally:
            connection.close()

    threads = [threading.Thread(target=run, args=(place,)) for place in range(len(what))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results


def test_two_sweepers_of_one_plan_send_it_once(sweeping: Sweeping, planned: SweepPlan) -> None:
    results = at_once(*[lambda: sweeping.send(planned)] * 5)
    sent = [one for many in results if isinstance(many, list) for one in many if one.txid]
    assert len(sent) == 1
    assert SweepAttempt.objects.count() == 1
    check_swept_once(sweeping)


def test_two_plans_of_one_address_at_once_send_one(sweeping: Sweeping, planned: SweepPlan) -> None:
    plans = [planned, sweeping.plan(), sweeping.plan(), sweeping.plan()]
    results = at_once(*[lambda plan=plan: sweeping.send(plan) for plan in plans])
    sent = [one for many in results if isinstance(many, list) for one in many if one.txid]
    assert len(sent) == 1
    check_swept_once(sweeping)


def plans_of_their_own(sweeping: Sweeping, plans: int) -> list[UUID]:
    """Plans that share no address, all of which may be sent at once."""
    for number in range(plans):
        sweeping.pay("USDT", WORTH, f"n{number}")
    sweeping.settle()
    sweeping.change(gas_max=140_000)
    plan = sweeping.plan()
    assert len(plan.sweeps) == plans
    ids = [UUID(int=number + 1) for number in range(plans)]
    for sweep, new in zip(Sweep.objects.filter(plan=plan.id).order_by("pk"), ids, strict=True):
        Sweep.objects.filter(pk=sweep.pk).update(plan=new)
    return ids


def send_all(sweeping: Sweeping, ids: list[UUID]) -> list[SweepSent]:
    def send(plan: UUID) -> list[SweepSent]:
        return sweeping.send(
            SweepPlan(id=plan, network=sweeping.network.caip2, sweeps=(), findings=())
        )

    results = at_once(*[lambda plan=plan: send(plan) for plan in ids])
    return [one for many in results if isinstance(many, list) for one in many]


def test_sweepers_of_different_plans_take_nonces_in_turn(sweeping: Sweeping) -> None:
    ids = plans_of_their_own(sweeping, 4)
    assert {one.outcome for one in send_all(sweeping, ids)} == {SendOutcome.SENT}
    assert sorted(Sweep.objects.values_list("nonce", flat=True)) == [0, 1, 2, 3]
    sweeping.settle()
    sweeping.follow()
    assert sweeping.in_treasury("USDT") == 4 * WORTH


def test_without_the_lock_two_would_have_taken_one_nonce(
    sweeping: Sweeping, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The negative twin: the race is real; the database still lets one nonce be used once."""
    ids = plans_of_their_own(sweeping, 4)
    all_here, save = threading.Barrier(4), Sweep.save

    def save_when_all_have_read(sweep: Sweep) -> None:
        all_here.wait(30)
        save(sweep)

    monkeypatch.setattr(sending, "_lock", lambda _network: None)
    monkeypatch.setattr(Sweep, "save", save_when_all_have_read)
    outcomes = [one.outcome for one in send_all(sweeping, ids)]
    assert outcomes.count(SendOutcome.SENT) == 1
    assert outcomes.count(SendOutcome.NOT_SENT) == 3
    assert Sweep.objects.filter(nonce=0).count() == 1


def test_two_followers_raise_a_fee_once(sweeping: Sweeping, planned: SweepPlan) -> None:
    from tests.chains.sweeping.test_following import PATIENCE, without_automine

    with without_automine(sweeping):
        sweeping.send(planned)
        sweeping.let_pass(PATIENCE)
        reports = at_once(*[sweeping.follow] * 4)
        assert sum(report.replaced for report in reports) == 1
        assert SweepAttempt.objects.count() == 2
    check_swept_once(sweeping)
