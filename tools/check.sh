#!/usr/bin/env bash
# Run all static checks and show every finding. Nothing is changed.
set -uo pipefail
cd "$(dirname "$0")/.." || exit 1
status=0

run_check() { # run_check NAME COMMAND...
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

run_check format .venv/bin/ruff format --check --quiet .
run_check lint .venv/bin/ruff check --quiet .
run_check length tools/check_module_length.sh
run_check types .venv/bin/mypy
run_check layers .venv/bin/lint-imports
run_check documents .venv/bin/python tools/check_documents.py
run_check lock tools/lock.sh --check
run_check packages .venv/bin/uv pip check --quiet --python .venv/bin/python
run_check shell .venv/bin/shellcheck "${shell_files[@]}"
run_check yaml .venv/bin/yamllint --strict "${yaml_files[@]}"
run_check page tools/page.sh check
# Static checks only: `make test-containers` and `make test-compose` run the image and the services.
run_check dockerfile .venv/bin/hadolint Dockerfile
run_check compose .venv/bin/check-jsonschema --quiet --builtin-schema vendor.compose-spec docker-compose.yaml \
    deploy/*.yaml
exit "$status"
