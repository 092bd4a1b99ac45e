"""What happens outside the city: payers pay and change their minds, miners mine and disagree."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from itertools import islice
from typing import Final

from alatau_pay.devnet import bitcoind
from tests.simulation.chain import Chain, Pay, Tx
from tests.simulation.world import Bill, World

DUST_SAT: Final = 1


def moves_of(world: World) -> Mapping[str, Callable[[str], None]]:
    """Every move that nature knows, each for one network (CAIP-2)."""
    nature = Nature(world)
    return {
        "mine": nature.mine,
        "pay": nature.pay,
        "replace": nature.replace,
        "evict": nature.evict,
        "return": nature.bring_back,
        "malleate": nature.malleate,
        "child": nature.pay_from_child,
        "coinbase": nature.pay_from_coinbase,
        "noise": nature.make_noise,
        "reorganise": nature.reorganise,
        "double spend": nature.double_spend,
        "finalise": nature.finalise,
    }


class Nature:
    """The moves; each does nothing where it cannot be done."""

    def __init__(self, world: World) -> None:
        self._world, self._rng = world, world.rng

    def mine(self, caip2: str) -> None:
        """Mine a block or two with some of what waits."""
        chain = self._world.chains[caip2]
        chain.grow(self._rng.choice((1, 1, 2)), share=self._rng.choice((0.0, 0.7, 1.0)))
        self._said(caip2, "mined", f"to {chain.best.height} {chain.best.hash[:8]}")

    def pay(self, caip2: str) -> None:
        """Pay one bill or several at once, in full or not, in one output or many (R21, R22)."""
        bills = [bill for bill in self._world.bills if bill.network == caip2]
        if not bills:
            return
        chosen = [self._rng.choice(bills) for _ in range(self._rng.choice((1, 1, 1, 2, 3)))]
        if len(chosen) > 1:
            self._world.fire("R21 R22 one transaction, several outputs")
        self._broadcast(caip2, self._payment(caip2, chosen), "pays")

    def replace(self, caip2: str) -> None:
        """Replace what waits: same sum, another sum, or back to the payer (R7, R8, R63)."""
        chain = self._world.chains[caip2]
        if not chain.waiting:
            return
        tx = self._rng.choice(list(chain.waiting.values()))
        kind = self._rng.choice(("same", "other", "back"))
        pays = [] if kind == "back" else [pay for pay in tx.moods[0].pays if self._is_ours(pay)]
        if kind == "other":
            factor = self._rng.choice((0.5, 0.9, 1.1, 2))
            sums = [max(1, int(pay.value * factor)) for pay in pays]
        else:
            sums = [pay.value for pay in pays]
        self._world.fire(
            {
                "same": "R7 replaced by the same sum",
                "other": "R7 replaced by another sum",
                "back": "R8 replaced by a payment back to the payer",
            }[kind]
        )
        if caip2 == bitcoind.CAIP2:
            new = self._world.bitcoin_payers.conflict(
                tx, [(pay.script, value) for pay, value in zip(pays, sums, strict=True)]
            )
        else:
            wanted = [(pay.asset, pay.script, value) for pay, value in zip(pays, sums, strict=True)]
            envelope, run = self._world.evm_payers.pay(wanted)
            new = self._world.evm_payers.send(envelope, [run], instead=tx)
        self._broadcast(caip2, new, f"replaces {tx.txid[:8]}, {kind},")

    def evict(self, caip2: str) -> None:
        """Let a transaction leave every mempool (R12)."""
        chain = self._world.chains[caip2]
        if chain.waiting:
            tx = self._rng.choice(list(chain.waiting.values()))
            chain.drop(tx)
            self._world.fire("R12 evicted")
            self._said(caip2, "evicted", tx.txid[:8])

    def bring_back(self, caip2: str) -> None:
        """Broadcast again what had left (R12)."""
        chain = self._world.chains[caip2]
        back = [tx for tx in chain.gone if chain.may_wait(tx)]
        if back:
            self._world.fire("R12 returned after eviction")
            self._broadcast(caip2, self._rng.choice(back), "returns")

    def malleate(self, caip2: str) -> None:
        """Let a transaction be mined under another txid (R6)."""
        chain = self._world.chains[caip2]
        if caip2 != bitcoind.CAIP2 or not chain.waiting:
            return
        tx = self._rng.choice(list(chain.waiting.values()))
        other = self._world.bitcoin_payers.malleate(tx)
        self._world.fire("R6 malleated")
        if self._rng.random() < 0.5:
            self._broadcast(caip2, other, f"is {tx.txid[:8]} malleated,")
        else:
            chain.adopt(chain.mine([other]))
            self._said(caip2, "mined malleated", f"{tx.txid[:8]} as {other.txid[:8]}")

    def pay_from_child(self, caip2: str) -> None:
        """Pay from the change of what waits: a child pays for its parent (R11)."""
        chain = self._world.chains[caip2]
        bills = [bill for bill in self._world.bills if bill.network == caip2]
        parents = [tx for tx in chain.waiting.values() if tx.waits]
        if caip2 != bitcoind.CAIP2 or not bills or not parents:
            return
        child = self._payment(caip2, [self._rng.choice(bills)], parent=self._rng.choice(parents))
        if chain.may_wait(child):
            self._world.fire("R11 child pays for parent")
            self._broadcast(caip2, child, "is a child, pays")

    def pay_from_coinbase(self, caip2: str) -> None:
        """Let the next block's reward, or a withdrawal from staking, pay a bill (R29, R58)."""
        bills = [bill for bill in self._world.bills if bill.network == caip2]
        if not bills:
            return
        bill = self._rng.choice(bills)
        if caip2 == bitcoind.CAIP2:
            if not self._world.temper.has_coinbase:
                return
            self._world.bitcoin_payers.reward = [(bill.script, self._sum(bill))]
            self._world.fire("R29 coinbase output")
        else:
            self._world.evm_payers.reward = [(bill.script, self._rng.randint(1, 10**7))]
            self._world.fire("R58 withdrawal")
        self._world.chains[caip2].grow(1)
        self._said(caip2, "the block's own payment is for", str(bill.invoice)[:8])

    def make_noise(self, caip2: str) -> None:
        """Let a stranger's contract log what is none of ours (R45, R49)."""
        bills = [bill for bill in self._world.bills if bill.network == caip2]
        if caip2 != bitcoind.CAIP2 and bills:
            tx = self._world.evm_payers.noise(self._rng.choice(bills).script)
            self._world.fire("R45 R49 logs that count for nothing")
            self._broadcast(caip2, tx, "is a stranger's")

    def reorganise(self, caip2: str) -> None:
        """Let a longer branch win (R1, R2, R3, R5, R9), never below what is finalised."""
        chain, temper = self._world.chains[caip2], self._world.temper
        depth = min(self._rng.randint(1, temper.depth_max), self._depth_max(caip2, chain))
        if depth < 1:
            return
        chain.reorganise(
            depth, extra=self._rng.choice((1, 1, 2)), share=self._rng.choice((0.0, 0.5, 1.0))
        )
        self._world.fire("R1 reorg of 1" if depth == 1 else "R2 reorg deeper than 1")
        if depth >= 10:
            self._world.fire("R2 reorg of 10 to 20")
        self._said(caip2, "reorganised", f"depth {depth}, to {chain.best.height}")

    def double_spend(self, caip2: str) -> None:
        """Let a longer branch hold another spend of what a mined payment had spent (R5, R8)."""
        chain, rng = self._world.chains[caip2], self._rng
        limit = min(self._world.temper.depth_max, self._depth_max(caip2, chain))
        paid = [
            (chain.best.height - block.height + 1, tx)
            for block in islice(chain.best.branch(), max(0, limit))
            for tx, mood in block.mined
            if tx.claims and any(self._is_ours(pay) for pay in mood.pays)
        ]
        if not paid:
            return
        depth, tx = rng.choice(paid)
        if caip2 == bitcoind.CAIP2:
            rival = self._world.bitcoin_payers.conflict(tx, [])
        else:
            envelope, run = self._world.evm_payers.pay([])
            rival = self._world.evm_payers.send(envelope, [run], instead=tx)
        chain.reorganise(
            depth, extra=rng.choice((1, 2)), share=rng.choice((0.5, 1.0)), first=[rival]
        )
        self._world.fire("R5 spent otherwise in a longer branch")
        self._said(caip2, "reorganised", f"depth {depth}, {rival.txid[:8]} takes {tx.txid[:8]}")

    def finalise(self, caip2: str) -> None:
        """Let the network finalise a block near its tip, or stall by not being called (R36)."""
        chain = self._world.chains[caip2]
        block = chain.best.at(max(chain.finalized.height, chain.best.height - 2))
        if block is not None and caip2 != bitcoind.CAIP2:
            chain.finalized = block
            self._said(caip2, "finalised", str(block.height))

    def _depth_max(self, caip2: str, chain: Chain) -> int:
        network = self._world.networks[caip2]
        floor = network.start_height - 1
        if not network.final_confirmations:
            floor = max(floor, chain.finalized.height)
        return chain.best.height - floor - 1

    def _payment(self, caip2: str, bills: list[Bill], *, parent: Tx | None = None) -> Tx:
        pays = [(bill.asset, bill.script, self._sum(bill)) for bill in bills]
        if caip2 == bitcoind.CAIP2:
            return self._world.bitcoin_payers.pay(
                [(script, value) for _asset, script, value in pays], parent=parent
            )
        payers = self._world.evm_payers
        envelope, run = payers.pay(pays)
        runs, kind = [run], self._rng.random()
        if kind < 0.15:
            runs.append(replace(run, ok=False))
            self._world.fire("R46 R59 may fail in its block")
        elif kind < 0.3:
            runs.append(payers.altered(run))
            self._world.fire("may pay more in another block")
        elif kind < 0.4 and run.frames:
            runs.append(payers.failing_inside(run))
            self._world.fire("R48 a call inside may fail")
        elif kind < 0.5:
            runs.append(replace(run, logs=tuple(reversed(run.logs))))
        return payers.send(envelope, runs)

    def _sum(self, bill: Bill) -> int:
        due = bill.quantity
        kind = self._rng.choice(
            ("exact", "exact", "exact", "half", "half", "less", "more", "twice", "dust", "unit")
        )
        if kind != "exact":
            self._world.fire(f"R26 R27 {kind}")
        return {
            "exact": due,
            "half": (due + 1) // 2,
            "less": max(1, due - 1 - due // 100),
            "more": due + 1 + due // 100,
            "twice": 2 * due,
            "dust": DUST_SAT,
            "unit": max(1, due - 1),
        }[kind]

    def _is_ours(self, pay: Pay) -> bool:
        return any(bill.script == pay.script for bill in self._world.bills)

    def _broadcast(self, caip2: str, tx: Tx, how: str) -> None:
        self._world.chains[caip2].broadcast(tx)
        paid = ", ".join(f"{pay.value} at {pay.position}" for pay in tx.moods[0].pays)
        self._said(caip2, f"{tx.txid[:8]} {how}", paid)

    def _said(self, caip2: str, *words: str) -> None:
        self._world.say(f"{self._world.networks[caip2].name}: {' '.join(words)}")
