"""``manage.py close_day``: close a business day, so that it takes no more entries."""

from datetime import date
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from typing_extensions import override

from settlement.days import DayError, close_day


class Command(BaseCommand):
    """Close a day by name; fail when it is closed already, or not over."""

    help = "Close a business day (Asia/Almaty) and every open day before it."

    @override
    def add_arguments(self, parser: CommandParser) -> None:
        """Take the day and who closes it."""
        parser.add_argument("day", type=date.fromisoformat, help="YYYY-MM-DD")
        parser.add_argument("--by", required=True, help="who closes it; kept with the day")

    @override
    def handle(self, *args: Any, **options: Any) -> None:
        """Close it and say so."""
        try:
            closed = close_day(day=options["day"], closed_by=options["by"])
        except DayError as error:
            raise CommandError(str(error)) from error
        self.stdout.write(f"{closed.day} is closed.")
