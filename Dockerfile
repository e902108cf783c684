# One image for every service: Airflow's four, Spark's master and workers, and the command line.
# Versions stand in requirements.txt and include/ohlcv/spark/toolchain.py; here only the base image's.
ARG BASE_IMAGE=python:3.11.14-slim-bookworm

FROM ${BASE_IMAGE} AS base
# procps: Spark's scripts ask for processes. tini: reaps what a killed job leaves to process 1.
# Debian keeps one version of a package a release, the newest repair of it: there is none to pin.
# hadolint ignore=DL3008
RUN mkdir -p /usr/share/man/man1 \
    && apt-get update \
    && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends \
        ca-certificates openjdk-17-jre-headless procps tini \
    && rm -rf /var/lib/apt/lists/*

FROM base AS build
WORKDIR /opt/ohlcv
# What set-up reads; DAGs and plugins come later, a change of theirs keeps the packages' layer.
COPY pyproject.toml requirements.txt requirements-dev.txt requirements-jre.txt README.md ./
COPY tools/setup.sh tools/setup.sh
COPY include include
COPY spark_jobs spark_jobs
# An image without its archives of classes would start every job at half the speed, and tell nobody.
RUN tools/setup.sh --runtime \
    && .venv/bin/python -c 'from ohlcv.setup.class_data_sharing import is_current; raise SystemExit(not is_current())' \
    && .venv/bin/python -m compileall -q include spark_jobs \
    && rm -rf /root/.cache /root/.ivy2
COPY dags dags
COPY plugins plugins
COPY deploy/healthy.py deploy/healthy.py

FROM base
LABEL org.opencontainers.image.title="ohlcv" \
    org.opencontainers.image.description="Exact, complete, audited OHLCV candles from crypto trades"
# Folders that volumes are mounted over; a new volume takes owner and rights from here.
RUN useradd --uid 10001 --gid 0 --create-home --shell /usr/sbin/nologin ohlcv \
    && install --directory --owner 10001 --group 0 --mode 0770 \
        /var/lib/ohlcv /var/lib/airflow /var/lib/airflow/logs /var/lib/spark
COPY --from=build /opt/ohlcv /opt/ohlcv
ENV PATH=/opt/ohlcv/.venv/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    OHLCV_HOME=/var/lib/ohlcv \
    AIRFLOW_HOME=/var/lib/airflow \
    AIRFLOW__CORE__DAGS_FOLDER=/opt/ohlcv/dags \
    AIRFLOW__CORE__PLUGINS_FOLDER=/opt/ohlcv/plugins \
    AIRFLOW__CORE__LOAD_EXAMPLES=False
WORKDIR /var/lib/ohlcv
USER 10001
# -s: reaps also where the engine's own init is process 1.
ENTRYPOINT ["tini", "-s", "--"]
CMD ["ohlcv", "--help"]
# Sees by the container's command what to ask, whichever service it is.
HEALTHCHECK --interval=30s --timeout=10s --start-period=120s --retries=3 \
    CMD ["python", "/opt/ohlcv/deploy/healthy.py"]
