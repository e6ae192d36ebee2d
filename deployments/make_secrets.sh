#!/usr/bin/env bash
# Make what is missing under deployments/secrets, mode 600: random passwords and keys. What is there stays.
#
#   make_secrets.sh [FOLDER]
#   make_secrets.sh --rotate NAME [FOLDER]     a new value for one of them; then follow "Rotate keys" in docs/operate.md
#
# A file is written over, never replaced: a container that has it mounted sees the new value.
set -euo pipefail
umask 077
rotate=""
if [ "${1:-}" = --rotate ]; then
  rotate="${2:?name the secret to rotate, such as mlflow_database_password}"
  shift 2
fi
folder="${1:-$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)/secrets}"
mkdir -p "$folder"
# All or nothing: half a set of new keys would be worse than the old ones.
for file in "$folder" "$folder"/*; do
  if [ -e "$file" ] && ! { [ -r "$file" ] && [ -w "$file" ]; }; then
    echo "ecos: $file belongs to $(stat -c %U "$file"); nothing was changed: run this with sudo" >&2
    exit 2
  fi
done

random() { head -c 24 /dev/urandom | od -An -tx1 | tr -d ' \n'; }
make() { # NAME PREFIX: a random value, unless there is one that stays
  if [ ! -s "$folder/$1" ] || [ "$rotate" = "$1" ]; then
    printf '%s%s' "$2" "$(random)" > "$folder/$1"
  fi
}

names=(postgres_password prefect_database_password mlflow_database_password object_store_key prefect_auth)
if [ -n "$rotate" ] && [[ " ${names[*]} " != *" $rotate "* ]]; then
  echo "ecos: '$rotate' is not made here; one of: ${names[*]}" >&2
  exit 2
fi
for name in "${names[@]}"; do
  [ "$name" = prefect_auth ] && make "$name" operator: || make "$name" ""
done
cat > "$folder/object_store_users" <<JSON
{"identities": [{"name": "ecos", "actions": ["Admin", "Read", "Write", "List", "Tagging"],
  "credentials": [{"accessKey": "ecos", "secretKey": "$(<"$folder/object_store_key")"}]}]}
JSON
[ -e "$folder/client_token" ] || { : > "$folder/client_token"; echo "put the client's token into $folder/client_token" >&2; }
