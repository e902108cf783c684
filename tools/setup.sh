#!/usr/bin/env bash
# Install into .venv the locked packages, this package, the Iceberg and JDBC jars, and a JRE if the machine has no
# Java 17 or 21, and build the Candles page. A second call returns at once. With `--runtime`, for an image, the development packages and the tools
# of the setup are left out.
set -euo pipefail
cd "$(dirname "$0")/.."

case ${1:-} in
    '') locks=(requirements.txt requirements-dev.txt) ;;
    --runtime) locks=(requirements.txt) ;;
    *)
        echo "usage: tools/setup.sh [--runtime]" >&2
        exit 2
        ;;
esac
stamp=.venv/.setup-stamp
# Print a hash of the input of the setup and the jar sets of this call, by default those of the last one.
wanted() {
    cat "${locks[@]}" requirements-jre.txt pyproject.toml tools/setup.sh include/ohlcv/spark/{jars,toolchain}.py include/ohlcv/setup/slim_spark_home.py | sha256sum
    echo "${OHLCV_JAR_SETS:-$(head -n 1 .venv/share/ohlcv/jar-sets 2>/dev/null)}"
}
if [ "$(cat "$stamp" 2>/dev/null)" = "$(wanted)" ] && [ -x .venv/bin/ohlcv ]; then
    tools/page.sh build "$@"
    # CDS archives are created again after an upgrade of Java.
    exec .venv/bin/python -m ohlcv.setup.class_data_sharing
fi

say() { printf 'setup: %s\n' "$*" >&2; }
fail() {
    printf 'setup: error: %s\n' "$*" >&2
    exit 1
}

find_python() {
    local candidate
    for candidate in "${PYTHON:-}" python3.12 python3.11 python3.13 python3; do
        if [ -n "$candidate" ] && command -v "$candidate" >/dev/null &&
            "$candidate" -c 'import sys; raise SystemExit(not (3, 11) <= sys.version_info < (3, 14))' 2>/dev/null; then
            command -v "$candidate"
            return
        fi
    done
    return 1
}

if [ ! -x .venv/bin/python ] || [ ! -x .venv/bin/pip ]; then
    python=$(find_python) || fail "no Python 3.11, 3.12 or 3.13 found: install one (Debian: apt-get install python3 python3-venv)"
    say "virtual environment from $("$python" --version)"
    # In Debian ensurepip is part of python3-venv, which only root can install.
    if ! "$python" -c 'import ensurepip' 2>/dev/null; then
        if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
            fail "this Python has no ensurepip: run 'apt-get install python3-venv' as root, then 'make setup' again"
        fi
        say "installing Debian's python3-venv"
        apt-get update -qq >&2
        DEBIAN_FRONTEND=noninteractive apt-get install -y -qq python3-venv >&2
    fi
    rm -rf .venv
    "$python" -m venv .venv
fi

# uv installs the lock file five times as fast as pip. setuptools builds the editable installation without downloading a
# build environment. Both are pinned.
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
awk '/^[a-z]/ {inside = /^(uv|setuptools)==/} inside' requirements-dev.txt >"$scratch/tools.txt"
say "installing $(grep -o '^uv==[^ ]*' "$scratch/tools.txt")"
.venv/bin/pip install --quiet --disable-pip-version-check --require-hashes --requirement "$scratch/tools.txt"

say "installing $(cat "${locks[@]}" | grep -o '^[a-z0-9].*==' | sort -u | wc -l) locked packages (about 1.3 GB, half a minute)"
# Bytecode is compiled now, because later processes may not be able to write it and would compile at every start.
.venv/bin/uv pip sync --quiet --compile-bytecode --python .venv/bin/python --require-hashes "${locks[@]}" "$scratch/tools.txt"
.venv/bin/uv pip install --quiet --python .venv/bin/python --no-deps --no-build-isolation --editable .

if ! .venv/bin/python -m ohlcv.spark.toolchain java >/dev/null 2>&1; then
    say "no Java 17 or 21 on this machine: installing a JRE into .venv"
    .venv/bin/uv pip install --quiet --python .venv/bin/python --require-hashes --requirement requirements-jre.txt
fi
say "downloading the jars of Iceberg, JDBC and native execution"
.venv/bin/python -m ohlcv.spark.toolchain jars
.venv/bin/python -m ohlcv.setup.class_data_sharing
tools/page.sh build "$@"
if [ "${1:-}" = --runtime ]; then
    .venv/bin/uv pip uninstall --quiet --python .venv/bin/python pip setuptools uv
fi
wanted >"$stamp"
say "ready ($(.venv/bin/python -m ohlcv.spark.toolchain java))"
