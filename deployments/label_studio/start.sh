#!/usr/bin/env bash
# Start Label Studio on loopback, with a folder's images readable as local files. Stop it with Ctrl-C.
# Usage:  deployments/label_studio/start.sh DATA_FOLDER IMAGES_ROOT [PORT]
# LABEL_STUDIO_USERNAME, LABEL_STUDIO_PASSWORD and, for the API, LABEL_STUDIO_USER_TOKEN come from the environment.
set -euo pipefail
root="$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)"
data="$(mkdir -p "$1" && cd "$1" && pwd)"
images="$(cd "$2" && pwd)"
: "${LABEL_STUDIO_USERNAME:?set LABEL_STUDIO_USERNAME}" "${LABEL_STUDIO_PASSWORD:?set LABEL_STUDIO_PASSWORD}"
"$root/deployments/label_studio/install.sh"
export LABEL_STUDIO_BASE_DATA_DIR="$data" LABEL_STUDIO_LOCAL_FILES_SERVING_ENABLED=true
export LABEL_STUDIO_LOCAL_FILES_DOCUMENT_ROOT="$images"
export COLLECT_ANALYTICS=false LATEST_VERSION_CHECK=false SENTRY_DSN="" FRONTEND_SENTRY_DSN=""
token=()
[ -n "${LABEL_STUDIO_USER_TOKEN:-}" ] && token=(--user-token "$LABEL_STUDIO_USER_TOKEN" --enable-legacy-api-token)
exec "$root/.venv-label-studio/bin/label-studio" start --no-browser --internal-host 127.0.0.1 --port "${3:-8080}" \
  --username "$LABEL_STUDIO_USERNAME" --password "$LABEL_STUDIO_PASSWORD" "${token[@]}"
