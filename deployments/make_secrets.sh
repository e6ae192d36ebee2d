#!/usr/bin/env bash
# Make what is missing under deployments/secrets, mode 600: random passwords and keys. What is there stays.
# To rotate one, remove its file, run this again, and follow "Rotate keys" in docs/operate.md.
set -euo pipefail
umask 077
folder="${1:-$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)/secrets}"
mkdir -p "$folder"
random() { head -c 24 /dev/urandom | od -An -tx1 | tr -d ' \n'; }
for name in postgres_password prefect_database_password mlflow_database_password object_store_key; do
  [ -s "$folder/$name" ] || random > "$folder/$name"
done
[ -s "$folder/prefect_auth" ] || echo -n "operator:$(random)" > "$folder/prefect_auth"
cat > "$folder/object_store_users" <<JSON
{"identities": [{"name": "ecos", "actions": ["Admin", "Read", "Write", "List", "Tagging"],
  "credentials": [{"accessKey": "ecos", "secretKey": "$(<"$folder/object_store_key")"}]}]}
JSON
[ -e "$folder/client_token" ] || { : > "$folder/client_token"; echo "put the client's token into $folder/client_token" >&2; }
