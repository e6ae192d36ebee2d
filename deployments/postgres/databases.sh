#!/usr/bin/env bash
# Make the two databases and their owners. The container's first start runs it; by hand:  PGHOST=… databases.sh
# Reads prefect_database_password and mlflow_database_password in $SECRETS (/run/secrets). Safe to run again:
# it then only sets the passwords anew, which is how they are rotated.
set -euo pipefail
secrets="${SECRETS:-/run/secrets}"
for name in prefect mlflow; do
  password="$(<"$secrets/${name}_database_password")"
  psql --no-psqlrc --quiet --set ON_ERROR_STOP=1 --set name="$name" --set password="$password" \
    --username "${POSTGRES_USER:-postgres}" --dbname postgres <<'SQL'
SELECT format('CREATE ROLE %I LOGIN', :'name') WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = :'name') \gexec
ALTER ROLE :"name" PASSWORD :'password';
-- Whatever the cluster's locale: names and messages are UTF-8.
SELECT format('CREATE DATABASE %I OWNER %I ENCODING ''UTF8'' TEMPLATE template0', :'name', :'name')
  WHERE NOT EXISTS (SELECT FROM pg_database WHERE datname = :'name') \gexec
SQL
done
