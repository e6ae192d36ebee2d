#!/usr/bin/env bash
# Bring both databases back from a folder that backup.sh made. Stop Prefect and MLflow first: what is in the databases
# now is replaced. Usage:  PGHOST=… PGUSER=postgres PGPASSWORD=… deployments/restore.sh FOLDER/<date>
set -euo pipefail
cd "${1:?name the folder of a backup}"
sha256sum --check --quiet SHA256SUMS
for name in prefect mlflow; do
  pg_restore --clean --if-exists --no-owner --role="$name" --exit-on-error --single-transaction --dbname "$name" "$name.dump"
done
