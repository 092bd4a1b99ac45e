"""Look thousands of byte strings up in one query.

They travel as one binary array: as a list, psycopg and PostgreSQL would spend longer on reading
them than on finding them.
"""

import struct
from collections.abc import Collection
from typing import Any, Final

import psycopg
from django.db import connection
from psycopg.adapt import Dumper
from psycopg.pq import Format
from typing_extensions import override

BYTEA_OID, BYTEA_ARRAY_OID = 17, 1001
ARRAY_HEAD: Final = struct.Struct(">iiIii")
"""Dimensions, whether there are nulls, the elements' type, the size and the first index."""
ELEMENT_HEAD: Final = struct.Struct(">i")


class _Octets(tuple[bytes, ...]):
    """Byte strings for a parameter of type ``bytea[]``."""

    __slots__ = ()


class _OctetsDumper(Dumper):
    format = Format.BINARY
    oid = BYTEA_ARRAY_OID

    @override
    def dump(self, obj: Collection[bytes]) -> bytes:
        parts = [ARRAY_HEAD.pack(1, 0, BYTEA_OID, len(obj), 1)]
        for one in obj:
            parts += (ELEMENT_HEAD.pack(len(one)), one)
        return b"".join(parts)


def rows_matching(query: str, values: Collection[bytes], *before: str) -> list[tuple[Any, ...]]:
    """The rows of a query whose last parameter (``= ANY(%s)``) is an array of byte strings.

    ``bytea`` columns come as bytes. It runs in the caller's transaction, if there is one.
    """
    connection.ensure_connection()
    with connection.wrap_database_errors, psycopg.Cursor(connection.connection) as cursor:
        cursor.adapters.register_dumper(_Octets, _OctetsDumper)
        # The plan is made for these very values: how many they are decides it.
        cursor.execute(query.encode(), [*before, _Octets(values)], prepare=False, binary=True)
        return cursor.fetchall()
