#!/usr/bin/env bash
# Check that the commands a test lane needs are installed. Print one line that names the missing packages, and fail.
# Usage: require_commands.sh containers|compose|catalogs|page
set -euo pipefail

lane=$1
declare -A packages # by command
case $lane in
containers) packages=([podman]=podman [buildah]=buildah [runc]=runc [debootstrap]=debootstrap) ;;
compose)
    packages=([podman]=podman [buildah]=buildah [runc]=runc [debootstrap]=debootstrap
        [chromium]=chromium [chromedriver]=chromium-driver [go]='')
    ;;
catalogs) packages=([go]='') ;;
page) packages=([chromium]=chromium [chromedriver]=chromium-driver) ;;
*)
    echo "usage: require_commands.sh containers|compose|catalogs|page" >&2
    exit 2
    ;;
esac

advice=()
missing=()
for command in "${!packages[@]}"; do
    if ! command -v "$command" >/dev/null && [ -n "${packages[$command]}" ]; then
        missing+=("${packages[$command]}")
    fi
done
if [ ${#missing[@]} -gt 0 ]; then
    mapfile -t missing < <(printf '%s\n' "${missing[@]}" | sort)
    advice+=("run 'apt-get install ${missing[*]}'")
fi
# Debian's Go is too old to build the S3 server of the tests.
if [ -n "${packages[go]+needed}" ] && ! command -v go >/dev/null; then
    advice+=("install Go 1.24 or later from https://go.dev/dl")
fi
# podman and debootstrap create users and mount file systems.
if [ -n "${packages[podman]+needed}" ] && [ "$(id -u)" != 0 ]; then
    advice+=("run it as root")
fi
if [ ${#advice[@]} -gt 0 ]; then
    printf -v text '; %s' "${advice[@]}"
    echo "error: make test-$lane cannot run here: ${text#; }" >&2
    exit 1
fi
