"""Issued addresses and spent outpoints by the million, as a gateway has them after years."""

import os
import sys
from hashlib import sha256
from typing import Final

import django
from django.core.management import call_command
from django.db import connection

NETWORK: Final = "bip122:0f9188f13cb7b2c71f2a335e3a4fc328"
TABLES: Final = ("chains_address", "chains_spend")
PAID_ONE_IN: Final = 10
"""One address in so many was paid, by a transaction of two inputs; one of 1,000 waits."""


def script_of(number: int) -> bytes:
    """The scriptPubKey of the address with a number."""
    return b"\x00\x14" + sha256(str(number).encode()).digest()[:20]


def fill(addresses: int) -> None:
    """Leave exactly so many addresses, and what they were paid by; indexes are built anew."""
    with connection.cursor() as sql:
        sql.execute("SET statement_timeout = 0")
        sql.execute("SET maintenance_work_mem = '1GB'")
        sql.execute(f"TRUNCATE {', '.join(TABLES)} CASCADE")
        sql.execute(
            "SELECT conname, conrelid::regclass::text, pg_get_constraintdef(oid) "
            "FROM pg_constraint WHERE contype = 'u' AND conrelid = ANY(%s::regclass[])",
            [list(TABLES)],
        )
        constraints = sql.fetchall()
        for name, table, _definition in constraints:
            sql.execute(f"ALTER TABLE {table} DROP CONSTRAINT {name}")
        sql.execute(
            "SELECT indexname, indexdef FROM pg_indexes WHERE tablename = ANY(%s) "
            "AND indexname NOT LIKE '%%pkey'",
            [list(TABLES)],
        )
        indexes = sql.fetchall()
        for name, _definition in indexes:
            sql.execute(f"DROP INDEX {name}")
        sql.execute(
            """
            INSERT INTO chains_address
                (network, text, script, reference, wallet, index, created_at)
            SELECT %s, 'bcrt1q' || encode(hash, 'hex'), '\\x0014'::bytea || hash,
                'invoice ' || number, %s, number, now()
            FROM generate_series(0, %s - 1) AS number,
                LATERAL (SELECT substr(sha256(number::text::bytea), 1, 20) AS hash)
            """,
            [NETWORK, "f" * 64, addresses],
        )
        sql.execute(
            """
            INSERT INTO chains_spend (network, outpoint, txid, is_mined)
            SELECT %s, sha256(('coin ' || number)::bytea) || '\\x00000000'::bytea,
                encode(sha256(('tx ' || number / 2)::bytea), 'hex'), number / 2 %% 1000 <> 0
            FROM generate_series(1, 2 * %s) AS number
            """,
            [NETWORK, addresses // PAID_ONE_IN],
        )
        for name, table, definition in constraints:
            sql.execute(f"ALTER TABLE {table} ADD CONSTRAINT {name} {definition}")
        for _name, definition in indexes:
            sql.execute(definition)
        sql.execute(f"VACUUM ANALYZE {', '.join(TABLES)}")


if __name__ == "__main__":
    os.environ |= {"DJANGO_SETTINGS_MODULE": "alatau_pay.settings", "DEVNET": "1"}
    django.setup()
    call_command("migrate", verbosity=0)
    fill(int(sys.argv[1]))
