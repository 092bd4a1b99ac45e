"""``manage.py wallet``: the receiving wallets, and what their owners must do to see every coin."""

import sys
from typing import Any

from django.core.management.base import CommandError, CommandParser
from typing_extensions import override

from alatau_pay.management.base import NetworkCommand
from chains.assets import Network, NetworkKind
from chains.bitcoin.keys import AccountKeyError, address_of, parse_account_key, receive_script
from chains.wallets import GAP_LIMIT, WalletError, WalletGap, gaps, owner_of, skip_indices

SHOWN: int = 3
HEADINGS = ("network", "owner", "kind", "key", "next index", "last paid", "gap")


class Command(NetworkCommand):
    """Show, check, gap or skip."""

    help = (
        "show: every receiving wallet and how far its addresses were given out and paid. "
        "check: read a public key or descriptor from standard input and print its first addresses. "
        "gap: the line by which a wallet of bitcoind sees every address. "
        "skip: give out no address below an index, after the database was restored."
    )

    @override
    def add_arguments(self, parser: CommandParser) -> None:
        """One word for what to do."""
        super().add_arguments(parser)
        parser.add_argument("what", choices=["show", "check", "gap", "skip"])
        parser.add_argument("--to", metavar="INDEX", type=int, help="skip: the next index")

    @override
    def handle(self, *args: Any, **options: Any) -> None:
        """Do it; fails with a sentence that says what to do, and repeats no key."""
        try:
            match options["what"]:
                case "show":
                    self._show()
                case "gap":
                    self._gap()
                case "check":
                    self._check(self._bitcoin(options["network"]))
                case _:
                    self._skip(self._bitcoin(options["network"]), options["to"])
        except (AccountKeyError, WalletError) as error:
            raise CommandError(str(error)) from None

    def _show(self) -> None:
        rows = [HEADINGS, *(_row(one) for one in gaps())]
        widths = [max(len(row[column]) for row in rows) for column in range(len(HEADINGS))]
        for row in rows:
            cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
            self.stdout.write("  ".join(cells).rstrip())

    def _gap(self) -> None:
        for one in gaps():
            self.stdout.write(
                f"{one.network} {one.owner}: {one.gap} addresses were given out after the last "
                "that was paid."
            )
            if one.hides_coins:
                self.stderr.write(
                    self.style.WARNING(
                        f"Wallets stop looking after {GAP_LIMIT}: raise the gap limit of this one "
                        f"to {one.gap}, or its owner may not see what is paid next."
                    )
                )
            self.stdout.write("A watch-only wallet of bitcoind sees them all after this line:")
            self.stdout.write(f"bitcoin-cli importdescriptors '{one.import_request}'")

    def _check(self, network: Network) -> None:
        self.stderr.write("Paste the account's PUBLIC key or descriptor, then Enter:")
        account = parse_account_key(sys.stdin.readline(), network=network.caip2)
        owner = owner_of(account)
        self.stdout.write(f"An account of {network.name} that receives at {account.kind} addresses")
        self.stdout.write(f"key {account.fingerprint[:16]}, {owner or 'nobody'} has it here")
        for index in range(SHOWN):
            address = address_of(account, receive_script(account, index))
            self.stdout.write(f"address {index}: {address}")
        self.stdout.write("Compare them with the wallet's own first receiving addresses.")

    def _skip(self, network: Network, first: int | None) -> None:
        if first is None:
            raise CommandError("Name the next index with --to.")
        skipped = skip_indices(network=network, first=first)
        self.stdout.write(
            f"{skipped} addresses of {network.name} are skipped and watched; next is {first}."
        )

    def _bitcoin(self, name: str | None) -> Network:
        networks = [one for one in self.chosen(name) if one.kind is NetworkKind.BITCOIN]
        if len(networks) != 1:
            raise CommandError("Name one of the Bitcoin networks in NETWORKS_FILE with --network.")
        return networks[0]


def _row(one: WalletGap) -> tuple[str, ...]:
    paid = "never" if one.last_paid_index is None else str(one.last_paid_index)
    key = one.fingerprint[:16]
    return (one.network, one.owner, one.kind, key, str(one.next_index), paid, str(one.gap))
