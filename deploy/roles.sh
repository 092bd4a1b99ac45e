#!/bin/sh
# The database's roles; PostgreSQL's image runs this once, as the superuser, on an empty volume.
#   alatau_owner  owns the database: migrations alone connect as it
#   alatau_web    is what every other process connects as: a member of alatau_app, which the
#                 migrations give what it needs and no way to change the ledger
set -eu
psql --username "$POSTGRES_USER" --dbname "$POSTGRES_DB" --no-psqlrc --quiet \
    --set ON_ERROR_STOP=1 --set database="$POSTGRES_DB" <<'SQL'
\getenv owner_password OWNER_PASSWORD
\getenv app_password APP_PASSWORD
CREATE ROLE alatau_app NOLOGIN;
CREATE ROLE alatau_owner LOGIN PASSWORD :'owner_password';
CREATE ROLE alatau_web LOGIN PASSWORD :'app_password' IN ROLE alatau_app;
ALTER DATABASE :"database" OWNER TO alatau_owner;
ALTER SCHEMA public OWNER TO alatau_owner;
REVOKE CREATE ON SCHEMA public FROM PUBLIC;
REVOKE ALL ON DATABASE :"database" FROM PUBLIC;
GRANT CONNECT, TEMPORARY ON DATABASE :"database" TO alatau_app;
SQL
