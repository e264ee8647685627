#!/bin/sh
# Makes the database of POSTGRES_USER, POSTGRES_PASSWORD and POSTGRES_DB where there is none, then serves it.
set -eu
: "${POSTGRES_USER:?}" "${POSTGRES_PASSWORD:?}"

if [ ! -d "$PGDATA" ]; then
  # Made beside its place and moved there whole: an interrupted start begins anew.
  new=$PGDATA.new
  rm -rf "$new"
  printf '%s\n' "$POSTGRES_PASSWORD" > "$new.password"
  initdb --auth=scram-sha-256 --encoding=UTF8 --locale=C.UTF-8 --pgdata="$new" \
    --username="$POSTGRES_USER" --pwfile="$new.password" > /dev/null
  rm "$new.password"
  echo "host all all all scram-sha-256" >> "$new/pg_hba.conf"
  database=${POSTGRES_DB:-$POSTGRES_USER}
  [ "$database" = postgres ] || echo "CREATE DATABASE \"$database\"" | postgres --single -D "$new" postgres > /dev/null
  mv "$new" "$PGDATA"
fi
# No Unix socket: the server needs no writable folder but its data.
exec postgres -c listen_addresses='*' -c unix_socket_directories='' -c jit=off
