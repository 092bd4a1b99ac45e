"""Rows that a scan would have written: for orders of events that no node brings about on demand."""

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import count

from chains.models import Address, Block, Cursor, Transfer, TransferState
from chains.networks import registry
from merchants.expiring import expire_invoices
from merchants.invoices import choose_option, issue_invoice
from merchants.models import Invoice, PaymentOption, Shop
from merchants.settling import apply_transfers
from settlement.clock import database_now

MINED = {TransferState.INCLUDED, TransferState.FINAL}
_numbers = count(1)


def plant(
    option: PaymentOption,
    state: TransferState,
    *,
    value: int,
    seen_at: datetime,
    mined_at: datetime | None = None,
    times: int = 1,
) -> list[Transfer]:
    """Store transfers of ``value`` each to an option's address, found in one scan."""
    cursor = cursor_of(option.network)
    address = Address.objects.get(network=option.network, text=option.address)
    block = block_of(option.network, mined_at or seen_at) if state in MINED else None
    rows = Transfer.objects.bulk_create(
        Transfer(
            network=option.network,
            asset=option.asset,
            address=address,
            txid=f"{next(_numbers):064x}",
            position="out:0",
            value=value,
            state=state,
            block=block,
            revision=cursor.revision + number,
            first_seen_at=seen_at,
        )
        for number in range(1, times + 1)
    )
    cursor.revision += times
    cursor.save(update_fields=["revision"])
    return rows


def flip(transfer: Transfer, state: TransferState, *, mined_at: datetime | None = None) -> None:
    """Let a later scan find a transfer in another state."""
    cursor = cursor_of(transfer.network)
    cursor.revision += 1
    cursor.save(update_fields=["revision"])
    mined_at = mined_at or transfer.first_seen_at
    transfer.block = block_of(transfer.network, mined_at) if state in MINED else None
    transfer.state, transfer.revision = state, cursor.revision
    transfer.save()


def cursor_of(network: str) -> Cursor:
    """The scan's cursor, caught up this moment when it is made."""
    return Cursor.objects.get_or_create(
        network=network, defaults={"height": 0, "hash": "", "caught_up_at": database_now()}
    )[0]


def read_on() -> None:
    """Let every scan reach its tip now."""
    Cursor.objects.update(caught_up_at=database_now())


def block_of(network: str, time: datetime) -> Block:
    number = next(_numbers)
    return Block.objects.create(
        network=network,
        height=number,
        hash=f"{number:064x}",
        parent_hash=f"{number - 1:064x}",
        time=time,
    )


def asset(symbol: str) -> str:
    return next(one.caip19 for one in registry().assets.values() if one.symbol == symbol)


@dataclass
class Story:
    """One invoice, what scans find for it, and every state that it was in."""

    shop: Shop
    amount_tiyn: int = 450_000
    states: list[str] = field(default_factory=lambda: ["new"])

    def __post_init__(self) -> None:
        self.invoice = issue_invoice(shop_id=self.shop.pk, amount_tiyn=self.amount_tiyn)
        self.expires_at = self.invoice.expires_at

    def option(self, symbol: str = "BTC") -> PaymentOption:
        """The invoice's option with its address."""
        option = self.invoice.options.get(asset=asset(symbol))
        return option if option.address else choose_option(invoice=self.invoice, asset=option.asset)

    def pay(
        self,
        state: TransferState,
        *,
        symbol: str = "BTC",
        percent: int = 100,
        seen_s: int = -1,
        mined_s: int = -1,
    ) -> Transfer:
        """Have a payment found and applied; seen and mined so many seconds after the end."""
        option = self.option(symbol)
        seen_at, mined_at = self.after(seen_s), self.after(mined_s)
        value = int(option.quantity) * percent // 100
        (row,) = plant(option, state, value=value, seen_at=seen_at, mined_at=mined_at)
        self.apply()
        return row

    def turn(self, transfer: Transfer, state: TransferState) -> None:
        """Have a payment found in another state, and applied."""
        flip(transfer, state)
        self.apply()

    def after(self, end_s: int) -> datetime:
        """So many seconds after the invoice's end."""
        return self.expires_at + timedelta(seconds=end_s)

    def apply(self) -> None:
        """Do what the worker does, on every network."""
        for network in registry().networks:
            apply_transfers(network=network)
        self._look()

    def end_time(self) -> None:
        """Let the invoice's time end now, and every network be read to its tip after that."""
        self.expires_at = database_now()
        Invoice.objects.filter(pk=self.invoice.pk).update(
            expires_at=self.expires_at, confirm_by=self.after(86_400)
        )
        for network in registry().networks:
            cursor_of(network)
        read_on()

    def expire(self) -> int:
        """Run the expiry; returns how many invoices expired."""
        expired = expire_invoices()
        self._look()
        return expired

    def _look(self) -> None:
        self.invoice.refresh_from_db()
        if self.invoice.status != self.states[-1]:
            self.states.append(self.invoice.status)
