#!/bin/sh
# Makes src/shared/api-types.ts from the API's own document; with --check, says whether it still is what that gives.
set -eu
cd "$(dirname "$0")/../.."
made=$(mktemp -d)
trap 'rm -rf "$made"' EXIT
script/xungeng openapi >"$made/openapi.json"
# What has a default need not be sent, and a list of two numbers is a pair.
script/node web/node_modules/openapi-typescript/bin/cli.js "$made/openapi.json" \
  --default-non-nullable=false --array-length --output "$made/api-types.ts" >/dev/null
if [ "${1:-}" = --check ]; then
  cmp -s "$made/api-types.ts" web/src/shared/api-types.ts || {
    echo "web/src/shared/api-types.ts is not what the API says: script/npm --prefix web run types" >&2
    exit 1
  }
else
  cp "$made/api-types.ts" web/src/shared/api-types.ts
fi
