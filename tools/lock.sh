#!/usr/bin/env bash
# Compile the lock files from pyproject.toml. `--check` changes nothing and fails if one is outdated.
set -euo pipefail
cd "$(dirname "$0")/.."
uv=.venv/bin/uv
[ -x "$uv" ] || uv=uv

compile() { # compile TARGET SOURCE...: existing pins in TARGET are kept, so the result is stable
    local target=$1
    shift
    "$uv" pip compile "$@" --universal --generate-hashes --python-version 3.11 \
        --custom-compile-command "make lock" --no-emit-index-url --quiet --output-file "$target" >/dev/null
}

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
status=0
for target in requirements.txt requirements-dev.txt requirements-jre.txt requirements-page.txt requirements-bench.txt; do
    case $target in
        requirements.txt) source=(pyproject.toml) ;;
        # A package in both files has the same version in both.
        requirements-dev.txt) source=(--group dev --constraints requirements.txt) ;;
        requirements-jre.txt) source=(--group jre) ;;
        requirements-page.txt) source=(--group page) ;;
        # Installed in addition to requirements.txt, so common packages must have the same version.
        requirements-bench.txt) source=(--group bench --constraints requirements.txt) ;;
    esac
    if [ "${1:-}" = --check ]; then
        cp "$target" "$scratch/$target" 2>/dev/null || true
        compile "$scratch/$target" "${source[@]}"
        if ! diff -u "$target" "$scratch/$target" >"$scratch/diff"; then
            echo "lock: $target does not match pyproject.toml: run 'make lock'" >&2
            head -n 12 "$scratch/diff" >&2
            status=1
        fi
    else
        compile "$target" "${source[@]}"
        echo "lock: $target has $(grep -c '^[a-z0-9].*==' "$target") packages"
    fi
done
exit "$status"
