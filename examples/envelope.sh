#!/bin/sh
# usage: envelope.sh seal FILE | envelope.sh open FILE
# seal writes FILE.key, a data key encrypted by KMS, and FILE.enc; open writes the content of FILE to standard output.
set -eu
umask 077
command=$1 file=$2
data_key=$(mktemp)
trap 'rm -f "$data_key"' EXIT

case $command in
seal)
    kmstool-instance genkey --key-id "$KMSTOOL_SIM_KEY_ID" --encryption-context "file=$(basename "$file")" |
        while read -r label value; do
            case $label in
            CIPHERTEXT:) echo "$value" > "$file.key" ;;
            PLAINTEXT:) echo "$value" > "$data_key" ;;
            esac
        done
    # CBC does not authenticate: anyone who changes FILE.enc changes the result. If that matters, use age or gpg instead.
    openssl enc -aes-256-cbc -pbkdf2 -salt -pass "file:$data_key" -in "$file" -out "$file.enc"
    ;;
open)
    kmstool-instance --encryption-context "file=$(basename "$file")" --output base64 - < "$file.key" > "$data_key"
    openssl enc -d -aes-256-cbc -pbkdf2 -pass "file:$data_key" -in "$file.enc"
    ;;
*)
    echo "usage: envelope.sh seal FILE | envelope.sh open FILE" >&2
    exit 2
    ;;
esac
