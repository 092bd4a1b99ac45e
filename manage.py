#!/usr/bin/env python
"""Run a management command; with no database or broker named, on engines of its own."""

import os
import sys


def main() -> None:
    """Start the embedded engines that the environment does not replace, then run the command."""
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "alatau_pay.settings")
    from django.core.exceptions import ImproperlyConfigured
    from django.core.management import execute_from_command_line

    from alatau_pay.engines import EngineError, engines_for_command

    try:
        with engines_for_command(sys.argv):
            execute_from_command_line(sys.argv)
    except (EngineError, ImproperlyConfigured) as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
