#!/usr/bin/env bash
# Judge everything that can be judged without running the product; every finding is shown, nothing is changed.
set -uo pipefail
cd "$(dirname "$0")/.." || exit 1
status=0

judge() { # judge NAME COMMAND...
    local name=$1
    shift
    if "$@"; then
        printf 'check: %-12s ok\n' "$name"
    else
        printf 'check: %-12s FAILED (%s)\n' "$name" "$*"
        status=1
    fi
}

mapfile -t shell_files < <(git ls-files -co --exclude-standard '*.sh' .ci/run)
mapfile -t yaml_files < <(git ls-files -co --exclude-standard '*.yaml' '*.yml')

judge format .venv/bin/ruff format --check --quiet .
judge lint .venv/bin/ruff check --quiet .
judge types .venv/bin/mypy
judge layers .venv/bin/lint-imports
judge lock tools/lock.sh --check
judge packages .venv/bin/uv pip check --quiet --python .venv/bin/python
judge shell .venv/bin/shellcheck "${shell_files[@]}"
judge yaml .venv/bin/yamllint --strict "${yaml_files[@]}"
# Static alone: whether they work is for `make test-containers` and `make test-compose`.
judge dockerfile .venv/bin/hadolint Dockerfile
judge compose .venv/bin/check-jsonschema --quiet --builtin-schema vendor.compose-spec docker-compose.yaml
exit "$status"
