#!/usr/bin/env python
"""Run a management command; with no database or broker named, on engines of its own."""

import os
import sys


def main() -> None:
    """Start the embedded engines that the environment does not replace, then run the command."""
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "alatau_pay.settings")
    from django.core.management import execute_from_command_line

    from alatau_pay.engines import engines_for_command

    with engines_for_command(sys.argv):
        execute_from_command_line(sys.argv)


if __name__ == "__main__":
    main()
