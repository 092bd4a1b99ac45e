"""What an entry costs, beside bare psycopg that writes the same rows, from small ledgers to large.

``python -m bench.settlement.ledger [--sizes 10000 100000] [--seconds 5]``; a size of 10000000 takes
minutes and gigabytes to fill. In one run, for each size: one transfer for each commit over four
connections (a process each), and sets of 1,000 over one. A transfer is an entry of two lines, to
one of 1,000 shops and a shared account.

The bare twin writes to tables with the same columns and indexes, and no trigger or foreign key, by
one prepared statement that commits by itself.
"""

import argparse
import multiprocessing
import os
import random
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from itertools import count
from pathlib import Path

import django
import psycopg

from alatau_pay.engines import start_engines

SHOPS = 1_000
SET = 1_000
CONNECTIONS = 4
NOW = datetime(2026, 1, 1, tzinfo=UTC)
BARE = """
    CREATE TABLE bare_entry (LIKE settlement_journalentry INCLUDING ALL);
    CREATE TABLE bare_posting (LIKE settlement_posting INCLUDING ALL);
"""
FILL = """
    SET session_replication_role = replica;
    INSERT INTO settlement_journalentry
        (kind, source, subject, demand, memo, occurred_at, effective_at)
    SELECT 'transfer', 'fill ' || n, 'fill ' || n, '', '', '2026-01-01', '2026-01-01'
    FROM generate_series(%(from)s::bigint, %(to)s::bigint) n;
    INSERT INTO settlement_posting
        (entry_id, account_id, amount_tiyn, asset, quantity, balance_tiyn)
    SELECT e.id, a.id, line * 5, '', 0,
           CASE WHEN line = -1 THEN -5 * (n.number / %(shops)s + 1) END
    FROM (SELECT id, substr(source, 6)::bigint AS number FROM settlement_journalentry
          WHERE source LIKE 'fill %%' AND id >= %(first)s) e
    CROSS JOIN LATERAL (SELECT e.number) n
    CROSS JOIN (VALUES (1), (-1)) l(line)
    JOIN settlement_account a ON a.code = CASE WHEN line = 1 THEN 'coins_held'
                                               ELSE 'merchant_payable' END
        AND a.beneficiary = CASE WHEN line = 1 THEN ''
                                 ELSE 'shop ' || n.number %% %(shops)s END
    ORDER BY e.id, line DESC;
    INSERT INTO bare_entry SELECT * FROM settlement_journalentry WHERE id >= %(first)s;
    INSERT INTO bare_posting SELECT p.* FROM settlement_posting p WHERE p.entry_id >= %(first)s;
    SET session_replication_role = DEFAULT;
"""
BARE_POST = """
    WITH e AS (
        INSERT INTO bare_entry (id, kind, source, subject, demand, memo, occurred_at, effective_at)
        SELECT nextval('bare_ids'), 'transfer', s, s, '', '', %s, %s
        FROM unnest(%s::text[]) s RETURNING id, source)
    INSERT INTO bare_posting (id, entry_id, account_id, amount_tiyn, asset, quantity, balance_tiyn)
    SELECT nextval('bare_ids'), e.id, l.account, l.tiyn, '', 0, 0
    FROM unnest(%s::text[], %s::bigint[], %s::bigint[]) AS l(source, account, tiyn)
    JOIN e USING (source)
"""


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--sizes", type=int, nargs="+", default=[10_000, 100_000])
    parser.add_argument("--seconds", type=float, default=5.0)
    arguments = parser.parse_args()
    with (
        tempfile.TemporaryDirectory(prefix="bench-") as folder,
        start_engines(Path(folder), durable=True) as engines,
    ):
        os.environ |= {
            "DEVNET": "1",
            "DATABASE_URL": engines.database_url,
            "REDIS_URL": engines.redis_url,
            "DJANGO_SETTINGS_MODULE": "alatau_pay.settings",
        }
        prepare()
        print(f"load {os.getloadavg()[0]:.1f}, {os.cpu_count()} cores, entries a second")
        print(f"{'entries':>12}{'shape':>14}{'bare':>10}{'ledger':>10}{'share':>8}")
        for size in sorted(arguments.sizes):
            fill(size)
            for shape, connections, each in (("single", CONNECTIONS, 1), ("sets", 1, SET)):
                bare = rate(bare_writer, connections, each, arguments.seconds)
                ours = rate(ledger_writer, connections, each, arguments.seconds)
                print(f"{size:>12,}{shape:>14}{bare:>10,.0f}{ours:>10,.0f}{ours / bare:>8.0%}")


def prepare() -> None:
    """The tables, and the accounts of all shops."""
    django.setup()
    from django.core.management import call_command
    from django.db import connection

    from settlement.ledger import open_accounts

    call_command("migrate", verbosity=0)
    open_accounts(beneficiaries=[f"shop {number}" for number in range(SHOPS)])
    connection.close()
    with psycopg.connect(os.environ["DATABASE_URL"], autocommit=True) as link:
        link.execute(BARE)
        link.execute("CREATE SEQUENCE bare_ids START 1000000000")


def fill(size: int) -> None:
    """Bring both ledgers to a size, past the guards, and let PostgreSQL learn it."""
    with psycopg.connect(os.environ["DATABASE_URL"], autocommit=True) as link:
        stored = link.execute("SELECT count(*) FROM settlement_journalentry").fetchone()
        first = link.execute("SELECT coalesce(max(id), 0) + 1 FROM settlement_journalentry")
        numbers = {
            "from": stored[0] if stored else 0,
            "to": size - 1,
            "first": (first.fetchone() or [1])[0],
            "shops": SHOPS,
        }
        with psycopg.ClientCursor(link) as cursor:
            cursor.execute(FILL, numbers)
        link.execute("VACUUM ANALYZE")
        link.execute("CHECKPOINT")


def rate(
    writer: Callable[[int], Callable[[], None]], links: int, each: int, seconds: float
) -> float:
    """Entries that some processes write in a second together."""
    context = multiprocessing.get_context("fork")
    start = context.Barrier(links + 1)
    written = context.Value("q", 0)

    def work() -> None:
        write = writer(each)
        write()
        start.wait()
        done, until = 0, time.perf_counter() + seconds
        while time.perf_counter() < until:
            write()
            done += each
        with written.get_lock():
            written.value += done

    processes = [context.Process(target=work) for _ in range(links)]
    for process in processes:
        process.start()
    start.wait()
    began = time.perf_counter()
    for process in processes:
        process.join()
    return written.value / (time.perf_counter() - began)


def names() -> Callable[[], str]:
    numbers = count()
    return lambda: f"{os.getpid()} {next(numbers)}"


def bare_writer(each: int) -> Callable[[], None]:
    """One statement, prepared, that commits by itself."""
    link = psycopg.connect(os.environ["DATABASE_URL"], autocommit=True)
    link.execute("SET lock_timeout = 0")
    rows = link.execute("SELECT id, code FROM settlement_account").fetchall()
    held = next(pk for pk, code in rows if code == "coins_held")
    shops = [pk for pk, code in rows if code == "merchant_payable"]
    name = names()

    def write() -> None:
        sources = [name() for _ in range(each)]
        lines = [
            (source, account, tiyn)
            for source in sources
            for account, tiyn in ((held, 5), (random.choice(shops), -5))  # noqa: S311
        ]
        columns = [list(column) for column in zip(*lines, strict=True)]
        link.execute(BARE_POST, [NOW, NOW, sources, *columns], prepare=True)

    return write


def ledger_writer(each: int) -> Callable[[], None]:
    """Our own way in."""
    from django.db import connection, transaction

    from settlement.accounts import COINS_HELD, MERCHANT_PAYABLE
    from settlement.ledger import Entry, moved, post_entries

    connection.close()
    name = names()

    def entry() -> Entry:
        source = name()
        lines = moved(
            debit=COINS_HELD,
            credit=MERCHANT_PAYABLE,
            amount_tiyn=5,
            beneficiary=f"shop {random.randrange(SHOPS)}",  # noqa: S311
        )
        return Entry(kind="transfer", source=source, subject=source, lines=lines, effective_at=NOW)

    def write() -> None:
        entries = [entry() for _ in range(each)]
        with transaction.atomic():
            post_entries(entries)

    return write


if __name__ == "__main__":
    main()
