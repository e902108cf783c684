#!/usr/bin/env bash
# Write .env for docker-compose.yaml with secrets made on this machine. One that is there is never touched.
set -euo pipefail
cd "$(dirname "$0")/.."
target=${1:-.env}

if [ -e "$target" ]; then
    echo "env: $target is there already and stays as it is" >&2
    exit 0
fi

secret() { head -c 24 /dev/urandom | od -An -tx1 | tr -d ' \n'; }
fernet_key() { head -c 32 /dev/urandom | base64 | tr '+/' '-_'; }

umask 077
set -o noclobber # somebody else's file that appears meanwhile is not overwritten either
cat >"$target" <<EOF
# Settings and secrets of docker-compose.yaml, written by 'make env'. Never commit this file; back it up with care:
# without the Fernet key, the connections in Airflow's database cannot be read.

# The web interface listens on this address and port of the machine. Behind a proxy people know it by another address,
# such as https://candles.example.com: empty where there is none.
OHLCV_WEB_HOST=127.0.0.1
OHLCV_WEB_PORT=8080
OHLCV_WEB_URL=

# Logins of the web interface: admin, operator, viewer. They count at the first start only: change them there later.
AIRFLOW_ADMIN_PASSWORD=$(secret)
AIRFLOW_OPERATOR_PASSWORD=$(secret)
AIRFLOW_VIEWER_PASSWORD=$(secret)

# Alerts: who gets them by email, and Airflow's connections for the ways there, such as
# smtp://user:password@mail.example.com:465?from_email=candles%40example.com
# https://hooks.slack.com/services/… as slackwebhook://:ADDRESS_PERCENT_ENCODED@
OHLCV_ALERT_EMAIL=
SMTP_CONNECTION=
SLACK_CONNECTION=

# True: Airflow sends its figures to the services of the profile 'monitoring'.
AIRFLOW_METRICS=False
GRAFANA_PASSWORD=$(secret)

# Between the services. Nobody needs to know these.
POSTGRES_PASSWORD=$(secret)
AIRFLOW_DATABASE_PASSWORD=$(secret)
OHLCV_CATALOG_PASSWORD=$(secret)
OHLCV_CATALOG_TOKEN=
OHLCV_S3_ACCESS_KEY=ohlcv
OHLCV_S3_SECRET_KEY=$(secret)
OHLCV_SPARK_SECRET=$(secret)
AIRFLOW_HEALTH_PASSWORD=$(secret)
AIRFLOW_FERNET_KEY=$(fernet_key)
AIRFLOW_API_SECRET=$(secret)
AIRFLOW_JWT_SECRET=$(secret)
EOF
echo "env: wrote $target; the web interface's logins are in it" >&2
