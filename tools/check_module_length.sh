#!/usr/bin/env bash
# Fail if a Python module has more than 400 lines.
set -euo pipefail
cd "$(dirname "$0")/.."
git ls-files -co --exclude-standard -z '*.py' | xargs -0 wc -l |
    awk '$2 != "total" && $1 > 400 {print $2 ": " $1 " lines, split it (at most 400)"; bad = 1} END {exit bad}'
