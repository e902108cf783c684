# One image for every service: Airflow's four, Spark's master and workers, and the command line.
# Versions stand in requirements.txt and include/ohlcv/toolchain.py; here only the base image's.
ARG BASE_IMAGE=python:3.11-slim-bookworm

FROM ${BASE_IMAGE} AS base
# procps: Spark's scripts ask for processes. tini: reaps what a killed job leaves to process 1.
RUN mkdir -p /usr/share/man/man1 \
    && apt-get update \
    && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends \
        ca-certificates openjdk-17-jre-headless procps tini \
    && rm -rf /var/lib/apt/lists/*

FROM base AS build
WORKDIR /opt/ohlcv
# What set-up reads comes first: a change of code alone keeps the packages' layer.
COPY pyproject.toml requirements.txt requirements-jre.txt README.md ./
COPY tools/setup.sh tools/setup.sh
COPY include include
COPY spark_jobs spark_jobs
RUN tools/setup.sh \
    && .venv/bin/python -m compileall -q -j 0 .venv/lib include spark_jobs \
    && rm -rf /root/.cache /root/.ivy2
COPY dags dags
COPY plugins plugins

FROM base
LABEL org.opencontainers.image.title="ohlcv" \
    org.opencontainers.image.description="Exact, complete, audited OHLCV candles from crypto trades"
RUN useradd --uid 10001 --gid 0 --create-home --shell /usr/sbin/nologin ohlcv
COPY --from=build /opt/ohlcv /opt/ohlcv
ENV PATH=/opt/ohlcv/.venv/bin:$PATH \
    AIRFLOW__CORE__DAGS_FOLDER=/opt/ohlcv/dags \
    AIRFLOW__CORE__PLUGINS_FOLDER=/opt/ohlcv/plugins \
    AIRFLOW__CORE__LOAD_EXAMPLES=False
WORKDIR /home/ohlcv
USER 10001
ENTRYPOINT ["tini", "--"]
CMD ["ohlcv", "--help"]
