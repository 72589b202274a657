#!/bin/sh
# Starts a server with its secret on file descriptor 3: no file, no argument and no variable holds it.
# usage: secret_at_start.sh CIPHERTEXT_FILE SERVER [ARG]...
# nginx reads such a key by `ssl_certificate_key /dev/fd/3;`.
set -eu
ciphertext_file=$1
shift
secret=$(kmstool-instance - < "$ciphertext_file") # a shell's own variable, which is not exported
exec "$@" 3<<EOF
$secret
EOF
