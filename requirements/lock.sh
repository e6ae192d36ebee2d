#!/usr/bin/env bash
# Resolve every extra of pyproject.toml in a new environment and write the versions to requirements/lock.txt.
set -euo pipefail
cd "$(dirname "$0")/.."
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
"${PYTHON:-python3.11}" -m venv "$scratch/venv"
"$scratch/venv/bin/pip" install --quiet --upgrade pip
"$scratch/venv/bin/pip" install --quiet ".[cloud,demo,gpu,ray,text,docs,dev]"
{
  echo "# Versions of everything, for the make targets. Regenerate with: make lock"
  "$scratch/venv/bin/pip" freeze | grep -v -e '^ecos-sampling' -e '^pip==' -e '^setuptools=='
} > requirements/lock.txt
