"""The roles of compose.yaml: migrations own the tables, the application changes no ledger."""

import os
import subprocess
import sys
from pathlib import Path

import psycopg
import pytest

from alatau_pay.engines import REPOSITORY, _postgres_programs, start_engines


@pytest.mark.case("R118")
def test_the_application_works_as_a_role_that_owns_nothing(tmp_path: Path) -> None:
    with start_engines(tmp_path / "e", durable=False) as engines:
        socket = engines.database_url.partition("host=")[2]
        admin = {"POSTGRES_USER": "postgres", "POSTGRES_DB": "alatau", "PGHOST": socket}
        admin |= {"OWNER_PASSWORD": "o'w", "APP_PASSWORD": "a\\p"}
        programs = os.pathsep.join([str(_postgres_programs()), os.environ["PATH"]])
        environment = os.environ | admin | {"PATH": programs}
        with psycopg.connect(engines.database_url, autocommit=True) as superuser:
            superuser.execute("CREATE DATABASE alatau")
        subprocess.run(["sh", "deploy/roles.sh"], cwd=REPOSITORY, env=environment, check=True)

        def url(role: str) -> str:
            return f"postgresql://{role}@/alatau?host={socket}"

        def manage(role: str, *command: str) -> int:
            given = os.environ | {"DATABASE_URL": url(role), "REDIS_URL": engines.redis_url}
            program = [sys.executable, "manage.py", *command]
            return subprocess.run(program, cwd=REPOSITORY, env=given).returncode

        assert manage("alatau_web", "migrate", "--verbosity", "0") != 0
        assert manage("alatau_owner", "migrate", "--verbosity", "0") == 0
        assert manage("alatau_web", "trial_balance") == 0
        with psycopg.connect(url("alatau_web"), autocommit=True) as application:
            role = "SELECT rolsuper, rolcreaterole, rolcreatedb FROM pg_roles WHERE rolname = user"
            assert application.execute(role).fetchone() == (False, False, False)
            application.execute("UPDATE chains_cursor SET height = height")
            application.execute("DELETE FROM chains_nodehealth")
            for refused in (
                "UPDATE settlement_posting SET amount_tiyn = 0",
                "DELETE FROM settlement_journalentry",
                "TRUNCATE settlement_posting CASCADE",
                "DROP TABLE settlement_posting",
                "ALTER TABLE settlement_posting DISABLE TRIGGER ALL",
                "CREATE TABLE public.mine ()",
                "DELETE FROM django_migrations",
                "SET ROLE alatau_owner",
            ):
                with pytest.raises(psycopg.errors.InsufficientPrivilege):
                    application.execute(refused)
