#!/usr/bin/env bash
# What tests need and no Python package ships: a browser, the libraries that PDFs are set with, and
# an accountant of another house.
set -euo pipefail
missing=()
[ -n "${CHROMIUM:-}" ] || command -v chromium >/dev/null || command -v chromium-browser >/dev/null || missing+=(chromium fonts-noto-core)
command -v hledger >/dev/null || missing+=(hledger)
libraries=$(PATH="$PATH:/sbin:/usr/sbin" ldconfig -p)
for one in libpango-1.0:libpango-1.0-0 libpangoft2-1.0:libpangoft2-1.0-0 libharfbuzz-subset:libharfbuzz-subset0; do
  [[ $libraries == *"${one%%:*}.so.0"* ]] || missing+=("${one#*:}")
done
[ ${#missing[@]} -eq 0 ] && exit 0
if [ "$(id -u)" -ne 0 ] || ! command -v apt-get >/dev/null; then
  echo "Please install: ${missing[*]} (for example: sudo apt-get install ${missing[*]})" >&2
  exit 1
fi
apt-get update -qq
DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
