#!/usr/bin/env bash
# Create a database and a role for Airflow and for the catalog. Neither role can connect to the other database.
# The PostgreSQL image runs this script once, when its data folder is empty.
set -euo pipefail

create() { # create NAME PASSWORD_FILE
    # The statements go through standard input, because every user can read the command line of a process.
    psql --quiet --set ON_ERROR_STOP=1 --username postgres --dbname postgres <<EOF
CREATE ROLE $1 LOGIN PASSWORD '$(cat "$2")';
CREATE DATABASE $1 OWNER $1;
REVOKE CONNECT ON DATABASE $1 FROM PUBLIC;
EOF
}

create airflow /run/secrets/airflow_database_password
create ohlcv /run/secrets/catalog_password
