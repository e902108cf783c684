#!/usr/bin/env bash
# Start PostgreSQL as the image postgres:17 does: on an empty data folder, create the cluster and run the scripts first.
set -euo pipefail

if [ ! -s "$PGDATA/PG_VERSION" ]; then
    initdb --pgdata="$PGDATA" --username=postgres --pwfile="$POSTGRES_PASSWORD_FILE" \
        --auth-local=trust --auth-host=scram-sha-256 --encoding=UTF8 >/dev/null
    echo 'host all all all scram-sha-256' >>"$PGDATA/pg_hba.conf"
    pg_ctl --pgdata="$PGDATA" --wait --silent --options="-c listen_addresses=''" start
    for script in /docker-entrypoint-initdb.d/*.sh; do
        "$script"
    done
    pg_ctl --pgdata="$PGDATA" --wait --silent --mode=fast stop
fi
exec postgres -c listen_addresses='*'
