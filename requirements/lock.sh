#!/usr/bin/env bash
# Write the lock files anew from pyproject.toml: versions and hashes for CPython 3.11.2 and later and 3.12, no address.
#   client.txt  what a data owner installs       cloud.txt  lake, flows, training, demo
#   dev.txt     everything that `make test` needs  docs.txt   the documentation site
# Versions that are locked stay where they still fit; `lock.sh --upgrade` takes the newest. Label Studio has an
# environment of its own, label-studio.txt, written from label-studio.in.
set -euo pipefail
cd "$(dirname "$0")/.."
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
"${PYTHON:-python3}" -m venv "$scratch/venv"
"$scratch/venv/bin/pip" install --quiet uv==0.13.9

compile() { # TARGET ARGUMENTS...
  "$scratch/venv/bin/uv" pip compile --quiet --python-version 3.11.2 --generate-hashes --no-strip-extras --no-annotate \
    --custom-compile-command "make lock" --output-file "requirements/$1.txt" "${@:2}"
}

extras() { printf -- '--extra %s ' "$@"; }
# The largest first; the others take its versions, so that what is tested is what is installed.
# shellcheck disable=SC2046
{
  compile dev --universal pyproject.toml $(extras cloud demo ray text backbones lite hub dev docs) "$@"
  compile client --universal pyproject.toml --constraint requirements/dev.txt $(extras client)
  compile cloud --universal pyproject.toml --constraint requirements/dev.txt $(extras cloud demo)
  compile docs --universal pyproject.toml --constraint requirements/dev.txt $(extras docs)
  compile label-studio requirements/label-studio.in "$@"
}
