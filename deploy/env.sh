#!/usr/bin/env bash
# Write .env for docker-compose.yaml with newly generated secrets. An existing file is never changed.
set -euo pipefail
cd "$(dirname "$0")/.."
target=${1:-.env}

if [ -e "$target" ]; then
    echo "env: $target exists already and is not changed" >&2
    exit 0
fi

secret() { head -c 24 /dev/urandom | od -An -tx1 | tr -d ' \n'; }
fernet_key() { head -c 32 /dev/urandom | base64 | tr '+/' '-_'; }

umask 077
set -o noclobber # a file that another process creates meanwhile is not overwritten either
cat >"$target" <<EOF
# Settings and secrets of docker-compose.yaml, written by 'make env'. Never commit this file. Keep a safe backup:
# without the Fernet key, the connections in Airflow's database cannot be decrypted.

# Address and port of this machine on which the web interface listens. If users reach it through a proxy, set
# OHLCV_WEB_URL to the proxy's address, such as https://candles.example.com. Otherwise leave it empty.
OHLCV_WEB_HOST=127.0.0.1
OHLCV_WEB_PORT=8080
OHLCV_WEB_URL=

# Passwords of the users admin, operator and viewer of the web interface. Only the first start reads them. Change them
# in the web interface later.
AIRFLOW_ADMIN_PASSWORD=$(secret)
AIRFLOW_OPERATOR_PASSWORD=$(secret)
AIRFLOW_VIEWER_PASSWORD=$(secret)

# Notifications: the recipients of emails, and Airflow's connections for email and Slack, such as
# smtp://user:password@mail.example.com:465?from_email=candles%40example.com
# slackwebhook://:ADDRESS_PERCENT_ENCODED@ for the address https://hooks.slack.com/services/…
OHLCV_ALERT_EMAIL=
SMTP_CONNECTION=
SLACK_CONNECTION=

# True: Airflow sends metrics to the services of the profile 'monitoring'.
AIRFLOW_METRICS=False
GRAFANA_PASSWORD=$(secret)

# Profile 'api': address and port of this machine on which the candle service listens, origins of web pages that may
# read it (https://charts.example, comma separated), and requests per second and token (20).
OHLCV_API_HOST=127.0.0.1
OHLCV_API_PORT=8090
OHLCV_API_ORIGINS=
OHLCV_API_RATE=

# Secrets that the services use among themselves.
POSTGRES_PASSWORD=$(secret)
AIRFLOW_DATABASE_PASSWORD=$(secret)
OHLCV_CATALOG_PASSWORD=$(secret)
OHLCV_CATALOG_TOKEN=
OHLCV_CATALOG_CREDENTIAL=
OHLCV_S3_ACCESS_KEY=ohlcv
OHLCV_S3_SECRET_KEY=$(secret)
OHLCV_SPARK_SECRET=$(secret)
OHLCV_API_GATEWAY_TOKEN=$(secret)
AIRFLOW_HEALTH_PASSWORD=$(secret)
AIRFLOW_FERNET_KEY=$(fernet_key)
AIRFLOW_API_SECRET=$(secret)
AIRFLOW_JWT_SECRET=$(secret)
EOF
echo "env: wrote $target, which contains the passwords of the web interface" >&2
