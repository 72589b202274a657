#!/bin/sh
# Starts a server with its secret on file descriptor 3, so that no file, argument or environment variable contains it.
# usage: secret_at_start.sh CIPHERTEXT_FILE SERVER [ARG]...
# nginx reads such a key with `ssl_certificate_key /dev/fd/3;`.
set -eu
ciphertext_file=$1
shift
secret=$(kmstool-instance - < "$ciphertext_file") # a shell variable, which is not exported
exec "$@" 3<<EOF
$secret
EOF
