#!/usr/bin/env python
"""Run a management command; with no database or broker named, on engines of its own."""

import os
import sys


def main() -> None:
    """Start the embedded engines that the environment does not replace, then run the command."""
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "alatau_pay.settings")
    from django.core.exceptions import ImproperlyConfigured
    from django.core.management import execute_from_command_line
    from django.db import OperationalError, ProgrammingError
    from psycopg.errors import UndefinedTable

    from alatau_pay.engines import EngineError, engines_for_command

    try:
        with engines_for_command(sys.argv):
            execute_from_command_line(sys.argv)
    except (EngineError, ImproperlyConfigured) as error:
        sys.exit(str(error))
    except OperationalError as error:
        sys.exit(f"The database cannot be used (DATABASE_URL): {error}")
    except ProgrammingError as error:
        if not isinstance(error.__cause__, UndefinedTable):
            raise
        sys.exit("The database (DATABASE_URL) lacks tables: run manage.py migrate first.")


if __name__ == "__main__":
    main()
