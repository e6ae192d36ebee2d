#!/usr/bin/env bash
# Start one service of the deployment; compose, systemd and the tests all call this.
#
#   run.sh prefect-server | mlflow | make-bucket | worker POOL | deploy OPTIONS… | ecos COMMAND… | client
#
# Settings come from the environment. A secret comes from a file: NAME_FILE=/run/secrets/name, mode 600, without which
# NAME itself is read; no secret ever stands in a command line.
set -euo pipefail

secret() { # NAME: export it from the file that NAME_FILE names
  local file="$1_FILE"
  if [ -n "${!file:-}" ]; then
    [ -r "${!file}" ] || { echo "ecos: ${!file} (\$$file) cannot be read by $(id -un); see docs/operate.md" >&2; exit 2; }
    export "$1=$(<"${!file}")"
  fi
}

need() { # NAME...: complain about what is not set
  for name in "$@"; do
    [ -n "${!name:-}" ] || { echo "ecos: \$$name is not set; see docs/operate.md" >&2; exit 2; }
  done
}

object_store() {
  secret AWS_SECRET_ACCESS_KEY
  if [ -n "${S3_ENDPOINT_URL:-}" ]; then
    export AWS_ENDPOINT_URL="$S3_ENDPOINT_URL" MLFLOW_S3_ENDPOINT_URL="$S3_ENDPOINT_URL"
  fi
}

export PREFECT_SERVER_ANALYTICS_ENABLED=false DO_NOT_TRACK=1 MLFLOW_DISABLE_TELEMETRY=true PYTHONUNBUFFERED=1
bind="${ECOS_BIND:-127.0.0.1}"

case "${1:-}" in
  prefect-server)
    secret DATABASE_PASSWORD; secret PREFECT_SERVER_API_AUTH_STRING
    need DATABASE_HOST DATABASE_PASSWORD
    # In memory, the default, a restart forgets who holds a slot of a deployment, and stops the runs that do.
    export PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE=prefect.server.concurrency.lease_storage.filesystem
    export PREFECT_SERVER_DATABASE_CONNECTION_URL="postgresql+asyncpg://prefect:$DATABASE_PASSWORD@$DATABASE_HOST:${DATABASE_PORT:-5432}/prefect"
    # What messages about runs link to.
    export PREFECT_UI_URL="${PREFECT_UI_URL:-http://127.0.0.1:${PREFECT_PORT:-4200}}"
    # The pages are written anew at each start; where Prefect is installed nobody may write.
    export PREFECT_UI_STATIC_DIRECTORY="${PREFECT_UI_STATIC_DIRECTORY:-${PREFECT_HOME:-$HOME/.prefect}/ui}"
    exec prefect server start --host "$bind" --port "${PREFECT_PORT:-4200}"
    ;;
  mlflow)
    secret DATABASE_PASSWORD; object_store
    need DATABASE_HOST DATABASE_PASSWORD MLFLOW_ARTIFACTS
    export MLFLOW_BACKEND_STORE_URI="postgresql+psycopg2://mlflow:$DATABASE_PASSWORD@$DATABASE_HOST:${DATABASE_PORT:-5432}/mlflow"
    exec mlflow server --host "$bind" --port "${MLFLOW_PORT:-5000}" --workers "${MLFLOW_WORKERS:-2}" \
      --artifacts-destination "$MLFLOW_ARTIFACTS" \
      --allowed-hosts "${MLFLOW_ALLOWED_HOSTS:-localhost:*,127.0.0.1:*}"
    ;;
  make-bucket)
    object_store; need S3_BUCKET
    exec python -c '
import os, boto3
store, name = boto3.client("s3"), os.environ["S3_BUCKET"]
if name not in {bucket["Name"] for bucket in store.list_buckets()["Buckets"]}:
    store.create_bucket(Bucket=name)
print("bucket", name)'
    ;;
  worker)
    object_store; secret PREFECT_API_AUTH_STRING
    need PREFECT_API_URL
    # The automations of `ecos deploy` take a run for dead after five minutes without one (seconds).
    export PREFECT_FLOWS_HEARTBEAT_FREQUENCY="${PREFECT_FLOWS_HEARTBEAT_FREQUENCY:-60}"
    # A run asks a server that is away again for four minutes (2 + 4 + … + 128 s), not for one: restarts take that long.
    export PREFECT_CLIENT_MAX_RETRIES="${PREFECT_CLIENT_MAX_RETRIES:-7}"
    exec prefect worker start --pool "${2:?name the work pool, ecos-cpu or ecos-gpu}" --type process --with-healthcheck
    ;;
  deploy)
    secret PREFECT_API_AUTH_STRING
    need PREFECT_API_URL
    exec ecos deploy "${@:2}"
    ;;
  ecos)
    # Any command of a person, with the secrets that the service has.
    object_store; secret PREFECT_API_AUTH_STRING
    exec ecos "${@:2}"
    ;;
  client)
    need ECOS_CLIENT_HOME
    tls=()
    [ -n "${ECOS_CLIENT_CERTIFICATE:-}" ] && tls=(--tls-certificate "$ECOS_CLIENT_CERTIFICATE" --tls-key "${ECOS_CLIENT_KEY:?}")
    exec ecos client serve --home "$ECOS_CLIENT_HOME" --host "$bind" --port "${ECOS_CLIENT_PORT:-8731}" "${tls[@]}"
    ;;
  *)
    sed -n '4p' "$0" | sed 's/^# *//' >&2
    exit 2
    ;;
esac
