#!/usr/bin/env bash
# Dump both databases into FOLDER/<date>/, each readable by pg_restore, with checksums written last.
# Usage:  PGHOST=… PGUSER=postgres PGPASSWORD=… deployments/backup.sh FOLDER
# In compose:  docker compose -f deployments/compose.yaml exec -T postgres pg_dump …  (docs/operate.md)
set -euo pipefail
umask 077
target="${1:?name the folder for backups}/$(date -u +%Y%m%dT%H%M%SZ)"
mkdir -p "$target"
for name in prefect mlflow; do
  pg_dump --format=custom --no-owner --file "$target/$name.dump" "$name"
done
(cd "$target" && sha256sum ./*.dump > SHA256SUMS)
echo "$target"
