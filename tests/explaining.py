"""What PostgreSQL reads to answer a query."""

import json
from collections.abc import Iterator
from typing import Any

from django.db import connection


def _steps_of(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for step in plan.get("Plans", ()):
        yield from _steps_of(step)


def rows_read(query: str, *, table: str) -> int:
    """How many rows of a table PostgreSQL reads to answer a query, used or thrown away."""
    with connection.cursor() as sql:
        sql.execute(f"EXPLAIN (ANALYZE, FORMAT JSON) {query}")
        (said,) = sql.fetchone()
    (answer,) = json.loads(said) if isinstance(said, str) else said
    counted = ("Actual Rows", "Rows Removed by Filter", "Rows Removed by Index Recheck")
    return sum(
        round(sum(step.get(name, 0) for name in counted) * step["Actual Loops"])
        for step in _steps_of(answer["Plan"])
        if step.get("Relation Name") == table
    )
