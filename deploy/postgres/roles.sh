#!/usr/bin/env bash
# Run once by the PostgreSQL image, on an empty data folder: a database and a role of its own for Airflow, and for the
# catalog, neither of which can connect to the other's.
set -euo pipefail

make() { # make NAME PASSWORD_FILE
    # By standard input: a password on a command line is everybody's.
    psql --quiet --set ON_ERROR_STOP=1 --username postgres --dbname postgres <<EOF
CREATE ROLE $1 LOGIN PASSWORD '$(cat "$2")';
CREATE DATABASE $1 OWNER $1;
REVOKE CONNECT ON DATABASE $1 FROM PUBLIC;
EOF
}

make airflow /run/secrets/airflow_database_password
make ohlcv /run/secrets/catalog_password
