#!/usr/bin/env bash
# Make Label Studio's own environment, .venv-label-studio at the project's root: it pins other versions than we do.
# A second call finds it finished. Usage:  deployments/label_studio/install.sh [PYTHON]
set -euo pipefail
root="$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)"
target="$root/.venv-label-studio"
wanted="$(sha256sum "$root/requirements/label-studio.txt" | cut -d' ' -f1)"
# One at a time: the tests' services are installed while the tests begin.
exec 9> "$root/.venv-label-studio.lock"
flock 9
[ "$(cat "$target/finished" 2>/dev/null)" = "$wanted" ] && exit 0
echo "Installing Label Studio into .venv-label-studio (about a minute) ..." >&2
"${1:-python3}" -m venv --clear "$target"
"$target/bin/pip" install -q --disable-pip-version-check --no-deps --require-hashes -r "$root/requirements/label-studio.txt" >&2
echo "$wanted" > "$target/finished"
