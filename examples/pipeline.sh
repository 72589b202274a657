#!/bin/sh
# Decrypts every secret in a JSON file, and encrypts the list of them under a new data key with openssl.
set -eu
key=$KMSTOOL_SIM_KEY_ID
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

encrypted() { printf %s "$1" | kmstool-instance encrypt --key-id "$key"; }
jq -n --arg db "$(encrypted db-password)" --arg api "$(encrypted api-token)" '{db: $db, api: $api}' > "$work/secrets.json"

# One by one with xargs; a batch on one connection is faster.
jq -r '.[]' "$work/secrets.json" | xargs -n 1 kmstool-instance
jq -r '.[]' "$work/secrets.json" | kmstool-instance --batch > "$work/plaintexts"

# openssl reads the data key from a file that only this user can read, never from its arguments.
umask 077
kmstool-instance genkey --key-id "$key" --output json > "$work/data-key.json"
jq -r .Plaintext "$work/data-key.json" > "$work/data-key"
openssl enc -aes-256-cbc -pbkdf2 -salt -pass "file:$work/data-key" -in "$work/plaintexts" -out "$work/sealed"
rm "$work/data-key" "$work/plaintexts"

# Later: decrypt the data key again.
jq -r .CiphertextBlob "$work/data-key.json" | kmstool-instance --output base64 - > "$work/data-key"
openssl enc -d -aes-256-cbc -pbkdf2 -pass "file:$work/data-key" -in "$work/sealed"
