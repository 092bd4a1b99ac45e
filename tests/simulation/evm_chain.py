"""A model EVM network: accounts' transactions, what they do in the block they run in, validators.

What a run pays depends on how the network counts its coin (``chains.assets.NativeMode``); it is
told here from the run itself, in the model's own words.
"""

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from hashlib import sha256
from typing import Final

from chains.assets import NativeMode
from tests.simulation.chain import Block, Chain, Mood, Pay, Tx

SYSTEM: Final = b"\xff" * 19 + b"\xfe"
"""The logger of coin movements (EIP-7708)."""
BATCHER: Final = b"\xba" * 20
FAKE_TOKEN: Final = b"\xfa" * 20
"""Its name and symbol are those of a listed token (R45)."""
STRANGER: Final = b"\x57" * 20
GWEI: Final = 10**9


@dataclass(frozen=True, slots=True, kw_only=True)
class Log:
    """An event of a contract; ``is_transfer`` tells a Transfer from anything else."""

    contract: bytes
    to: bytes
    value: int
    is_transfer: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame:
    """A call with value inside a transaction; one that fails takes those below with it (R48)."""

    to: bytes
    value: int
    fails: bool = False
    below: tuple["Frame", ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """What a transaction does in one block."""

    ok: bool = True
    logs: tuple[Log, ...] = ()
    frames: tuple[Frame, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Envelope:
    """What is signed, whatever the run: whom it calls and the wei it carries."""

    to: bytes
    value: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Withdrawal:
    """What the consensus layer pays in a block (EIP-4895)."""

    index: int
    to: bytes
    gwei: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """How the network counts: the way of its coin, and the contracts that are listed."""

    native: NativeMode
    coin: str
    tokens: Mapping[bytes, str]

    def pays(self, envelope: Envelope, run: Run) -> tuple[Pay, ...]:
        """What a run pays to anybody; nothing if it failed (R46, R59)."""
        return tuple(self._pays(envelope, run)) if run.ok else ()

    def _pays(self, envelope: Envelope, run: Run) -> Iterator[Pay]:
        listed = {**self.tokens, **({SYSTEM: self.coin} if self.native is NativeMode.LOGS else {})}
        if self.native is not NativeMode.LOGS and envelope.value:
            yield self._coin("", envelope.to, envelope.value)
        if self.native is NativeMode.TRACES:
            for path, frame in _moving(run.frames):
                yield self._coin(path, frame.to, frame.value)
        for ordinal, log in enumerate(run.logs):
            if log.contract in listed and log.is_transfer and log.value:
                yield Pay(
                    position=f"log:{ordinal}",
                    script=log.to,
                    asset=listed[log.contract],
                    value=log.value,
                )

    def _coin(self, path: str, to: bytes, value: int) -> Pay:
        return Pay(position=f"call:{path}", script=to, asset=self.coin, value=value)


def _moving(frames: Sequence[Frame], above: str = "") -> Iterator[tuple[str, Frame]]:
    for number, frame in enumerate(frames):
        path = f"{above}.{number}" if above else str(number)
        if not frame.fails:
            if frame.value:
                yield path, frame
            yield from _moving(frame.below, path)


class EvmPayers:
    """Wallets, contracts whose effect depends on their state, and validators."""

    def __init__(self, *, rng: random.Random, now: Callable[[], datetime], rules: Rules) -> None:
        self._rng, self._now, self._rules = rng, now, rules
        self._contracts = {asset: contract for contract, asset in rules.tokens.items()}
        self.skew = timedelta(0)
        self.reward: list[tuple[bytes, int]] = []
        """Addresses and gwei that the next block's withdrawals pay."""

    def pay(self, pays: Sequence[tuple[str, bytes, int]]) -> tuple[Envelope, Run]:
        """A payment of (asset, address, value): by a plain wallet, or by a contract for many."""
        coins = [(to, value) for asset, to, value in pays if asset == self._rules.coin]
        tokens = [one for one in pays if one[0] != self._rules.coin]
        inside = tuple(self._frame(to, value) for to, value in coins)
        if len(pays) == 1 and (coins and self._rng.random() < 0.7):
            envelope, inside = Envelope(to=coins[0][0], value=coins[0][1]), ()
        elif len(pays) == 1 and tokens:
            envelope = Envelope(to=self._contracts[tokens[0][0]])
        else:
            envelope = Envelope(to=BATCHER, value=sum(value for _to, value in coins))
        logs = [
            Log(contract=self._contracts[asset], to=to, value=value) for asset, to, value in tokens
        ]
        return envelope, Run(logs=self._logged(envelope, logs, inside), frames=inside)

    def send(self, envelope: Envelope, runs: Sequence[Run], *, instead: Tx | None = None) -> Tx:
        """A transaction that runs in one of some ways; ``instead`` of another of its nonce."""
        nonce = instead.claims[0] if instead else self._rng.randbytes(28)
        return Tx(
            txid=sha256(nonce + self._rng.randbytes(8)).hexdigest(),
            claims=(nonce,),
            moods=tuple(Mood(pays=self._rules.pays(envelope, run), detail=run) for run in runs),
            born_at=self._now(),
            body=envelope,
            replaces=instead,
        )

    def altered(self, run: Run) -> Run:
        """The run of a contract that has come to hold a little more."""
        return replace(
            run,
            logs=tuple(replace(log, value=log.value + bool(log.value)) for log in run.logs),
            frames=tuple(replace(frame, value=frame.value + 1) for frame in run.frames),
        )

    def failing_inside(self, run: Run) -> Run:
        """The run in which the calls inside fail, caught by their caller (R48)."""
        return replace(
            run,
            logs=tuple(log for log in run.logs if log.contract != SYSTEM),
            frames=tuple(replace(frame, fails=True) for frame in run.frames),
        )

    def noise(self, to: bytes) -> Tx:
        """A stranger's transaction: a fake token, nothing at all, an approval (R45, R49)."""
        real = self._rng.choice(sorted(self._rules.tokens))
        logs = (
            Log(contract=FAKE_TOKEN, to=to, value=10**12),
            Log(contract=real, to=to, value=0),
            Log(contract=real, to=to, value=5, is_transfer=False),
            Log(contract=real, to=STRANGER, value=77),
        )
        chosen = tuple(log for log in logs if self._rng.random() < 0.6)
        return self.send(Envelope(to=FAKE_TOKEN), [Run(logs=chosen)])

    def seal(self, parent: Block, txs: Sequence[Tx]) -> Block:
        """A block; each transaction runs in a mood of the block's choosing."""
        paid = self._withdrawals(parent)
        moods = [
            tx.moods[0] if self._rng.random() < 0.6 else self._rng.choice(tx.moods) for tx in txs
        ]
        return Block(
            height=parent.height + 1,
            hash=sha256(parent.hash.encode() + self._rng.randbytes(8)).hexdigest(),
            parent=parent,
            time=(self._now() + self.skew).replace(microsecond=0),
            mined=(*zip(txs, moods, strict=True), *((tx, tx.moods[0]) for tx in paid)),
        )

    def _withdrawals(self, parent: Block) -> list[Tx]:
        before = sum(
            isinstance(tx.body, Withdrawal)
            for block in parent.branch()
            for tx, _mood in block.mined
        )
        reward, self.reward = self.reward, []
        return [
            self._withdrawal(Withdrawal(index=index, to=to, gwei=gwei))
            for index, (to, gwei) in enumerate(reward, start=before)
        ]

    def _withdrawal(self, body: Withdrawal) -> Tx:
        pay = Pay(
            position="withdrawal:",
            script=body.to,
            asset=self._rules.coin,
            value=body.gwei * GWEI,
        )
        return Tx(
            txid=f"withdrawal-{body.index}",
            claims=(),
            moods=(Mood(pays=(pay,)),),
            born_at=self._now(),
            body=body,
            waits=False,
        )

    def _frame(self, to: bytes, value: int) -> Frame:
        """A call with value, perhaps through a contract between."""
        frame = Frame(to=to, value=value)
        return Frame(to=BATCHER, value=0, below=(frame,)) if self._rng.random() < 0.3 else frame

    def _logged(
        self, envelope: Envelope, logs: Sequence[Log], frames: Sequence[Frame]
    ) -> tuple[Log, ...]:
        """The run's logs: a stranger's among them, and those of the coin where there are such."""
        made = list(logs)
        if self._rng.random() < 0.3:
            made.insert(0, Log(contract=FAKE_TOKEN, to=STRANGER, value=1))
        if self._rules.native is NativeMode.LOGS:
            moved = [(frame.to, frame.value) for _path, frame in _moving(frames)]
            if envelope.value:
                moved.insert(0, (envelope.to, envelope.value))
            made = [*(Log(contract=SYSTEM, to=to, value=value) for to, value in moved), *made]
        return tuple(made)


def chain_of(payers: EvmPayers, rng: random.Random, *, began_at: datetime) -> Chain:
    """An empty chain whose blocks these validators make."""
    first = Block(height=0, hash="e" * 64, parent=None, time=began_at)
    return Chain(genesis=first, rng=rng, seal=payers.seal)
