"""A block's payments, held against receipts once an address of ours is among them."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import Any

from chains.evm.blocks import Header, Movement
from chains.evm.logs import Said, place_in
from chains.evm.rpc import EvmRpc, octets, quantity
from chains.evm.tokens import token_balances
from chains.evm.tracing import Traced
from chains.nodes import BlockRef, NodeContradictionError, Output


class EvmBlock:
    """A block's payments; the node is asked more only about those that are ours."""

    def __init__(
        self,
        header: Header,
        said: Said,
        coin: Traced,
        rpc: EvmRpc,
        fee_tokens: Mapping[str, str],
    ) -> None:
        """``said`` is in the logs, ``coin`` what the network's own did.

        ``fee_tokens`` maps assets to contracts whose logs may tell more than arrives (R51).
        """
        self.header, self.notices, self.untraced = header, said.notices, coin.untraced
        self._paid, self._swept = [*said.paid, *coin.moved], said.swept
        self._rpc, self._fee_tokens = rpc, fee_tokens
        self._known: dict[str, Any] = {}

    @property
    def ref(self) -> BlockRef:
        """The block's place."""
        return self.header.ref

    @property
    def scripts(self) -> AbstractSet[bytes]:
        """Every address that is paid, swept or given notice of, as 20 bytes."""
        about = {notice.script for notice in self.notices if notice.script}
        return about | {movement.address for movement in (*self._paid, *self._swept)}

    @property
    def spent(self) -> Collection[bytes]:
        """None: accounts, not outpoints."""
        return ()

    def spender_of(self, outpoint: bytes) -> str:
        """Never asked for: ``spent`` is empty."""
        raise KeyError(outpoint)

    def outputs_to(self, scripts: AbstractSet[bytes]) -> Sequence[Output]:
        """The payments to some addresses in transactions that succeeded (R46, R59).

        Raises NodeError: the receipts are asked for now.
        """
        paid = self._outputs(self._paid, scripts)
        return self._less_fees(paid) if self._fee_tokens else paid

    def outflows_from(self, scripts: AbstractSet[bytes]) -> Sequence[Output]:
        """What sweeps took from some addresses; raises as ``outputs_to`` does."""
        return self._outputs(self._swept, scripts)

    def _outputs(self, movements: Iterable[Movement], scripts: AbstractSet[bytes]) -> list[Output]:
        wanted = [movement for movement in movements if movement.address in scripts]
        mined = {one.txid for one in wanted} & set(self.header.txids)
        receipts = self._receipts(sorted(mined))
        return [
            Output(
                txid=one.txid,
                position=place_in(one, receipts[one.txid]) if one.log else one.position,
                script=one.address,
                asset=one.asset,
                value=one.value,
            )
            for one in wanted
            if one.txid not in receipts or quantity(receipts[one.txid]["status"]) == 1
        ]

    def _receipts(self, txids: Sequence[str]) -> dict[str, Any]:
        missing = [txid for txid in txids if txid not in self._known]
        rows = [[f"0x{txid}"] for txid in missing]
        answers = self._rpc.batch("eth_getTransactionReceipt", rows)
        for txid, receipt in zip(missing, answers, strict=True):
            if (
                not isinstance(receipt, dict)
                or octets(receipt.get("blockHash"), length=32).hex() != self.ref.hash
                or octets(receipt.get("transactionHash"), length=32).hex() != txid
            ):
                raise NodeContradictionError(
                    f"The receipt of {txid} is not of block {self.ref.height}."
                )
            self._known[txid] = receipt
        return {txid: self._known[txid] for txid in txids}

    def _less_fees(self, paid: Sequence[Output]) -> list[Output]:
        """Payments in tokens that take a fee, by what the block really added to an address (R51).

        Payments to one address are filled in the block's order until what came is used up.
        """
        places = sorted({(one.asset, one.script) for one in paid if one.asset in self._fee_tokens})
        came = dict(zip(places, self._increases(places), strict=True))
        counted: list[Output] = []
        for one in paid:
            place = (one.asset, one.script)
            if place not in came:
                counted.append(one)
                continue
            value = min(one.value, came[place])
            came[place] -= value
            if value > 0:
                counted.append(
                    Output(
                        txid=one.txid,
                        position=one.position,
                        script=one.script,
                        asset=one.asset,
                        value=value,
                    )
                )
        return counted

    def _increases(self, places: Sequence[tuple[str, bytes]]) -> list[int]:
        swept = dict.fromkeys(places, 0)
        for one in self.outflows_from({script for _asset, script in places}):
            swept[one.asset, one.script] = swept.get((one.asset, one.script), 0) + one.value
        asked = [(self._fee_tokens[asset], script) for asset, script in places]
        before = token_balances(self._rpc, asked, block_hash=self.ref.parent_hash)
        after = token_balances(self._rpc, asked, block_hash=self.ref.hash)
        return [
            max(0, now - was + swept[place])
            for place, was, now in zip(places, before, after, strict=True)
        ]
