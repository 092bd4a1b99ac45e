"""``manage.py listen``: poke scans as soon as a node announces something."""

import asyncio
from typing import Any

from typing_extensions import override

from alatau_pay.celery import app
from alatau_pay.listening import listen
from alatau_pay.management.base import NetworkCommand
from alatau_pay.pipeline import scan_network


class Command(NetworkCommand):
    """Listen to every network's push endpoint until stopped."""

    help = "Listen to the nodes and poke scans; the beat schedule works without it, only slower."

    @override
    def handle(self, *args: Any, **options: Any) -> None:
        """Run until interrupted."""
        app.set_current()
        try:
            asyncio.run(listen(self.chosen(options["network"]), scan_network.delay))
        except KeyboardInterrupt:
            self.stdout.write("Stopped listening.")
