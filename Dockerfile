# One image for all services: the four services of Airflow, Spark's master and workers, and the ohlcv command.
# Versions are in requirements.txt and include/ohlcv/spark/jars.py. Only the base image is pinned here.
ARG BASE_IMAGE=python:3.11.14-slim-bookworm

FROM ${BASE_IMAGE} AS base
# procps: Spark's scripts call ps. tini: reaps orphaned processes of killed jobs.
# A Debian release has only the newest version of a package, so versions cannot be pinned.
# hadolint ignore=DL3008
RUN mkdir -p /usr/share/man/man1 \
    && apt-get update \
    && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends \
        ca-certificates openjdk-17-jre-headless procps tini \
    && rm -rf /var/lib/apt/lists/*

FROM base AS build
WORKDIR /opt/ohlcv
# The input of the setup. DAGs and plugins are copied later, so that a change of them does not rebuild this layer.
COPY pyproject.toml requirements.txt requirements-dev.txt requirements-jre.txt requirements-page.txt README.md ./
COPY tools/setup.sh tools/page.sh tools/
COPY page page
COPY include include
COPY spark_jobs spark_jobs
# Jars for the catalog and the store (aws, gcp, azure, hive) and for native execution (native), separated by commas.
ARG OHLCV_JAR_SETS=aws,native
# Without CDS archives every job would start at half the speed without a message, so the build checks for them.
RUN OHLCV_JAR_SETS=${OHLCV_JAR_SETS} tools/setup.sh --runtime \
    && .venv/bin/python -c 'from ohlcv.setup.class_data_sharing import is_current; raise SystemExit(not is_current())' \
    && .venv/bin/python -m compileall -q include spark_jobs \
    && rm -rf /root/.cache /root/.ivy2 /root/.npm
COPY dags dags
COPY plugins plugins
COPY deploy/healthy.py deploy/healthy.py

FROM base
LABEL org.opencontainers.image.title="ohlcv" \
    org.opencontainers.image.description="Exact, complete, audited OHLCV candles from crypto trades"
# Mount points of volumes. A new volume takes its owner and mode from here.
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
# -s: tini also reaps orphaned processes if the container engine runs its own init as process 1.
ENTRYPOINT ["tini", "-s", "--"]
CMD ["ohlcv", "--help"]
# The script selects the check by the command of the container.
HEALTHCHECK --interval=30s --timeout=10s --start-period=120s --retries=3 \
    CMD ["python", "/opt/ohlcv/deploy/healthy.py"]
