#!/bin/sh
# Runs one enclave for as long as this process lives: enclave-launcher.sh, with EIF, CID, CPUS and MEMORY (MiB) in the
# environment. Ends with 1 when the enclave is gone, so that systemd or Kubernetes starts it anew; at SIGTERM the enclave
# is terminated first. nitro-cli itself returns as soon as an enclave runs, and tells nobody when it ends.
set -eu
: "${EIF:?expected the path of an enclave image file}" "${CID:?expected a vsock CID, such as 16}"
POLL_S=${POLL_S:-5}

# Until the enclave has an id nobody can terminate it, so that a signal waits for that.
stopping=''
trap 'stopping=1' TERM INT

started=$(nitro-cli run-enclave --eif-path "$EIF" --enclave-cid "$CID" \
    --cpu-count "${CPUS:-2}" --memory "${MEMORY:-512}")
enclave=$(printf '%s\n' "$started" | sed -n 's/.*"EnclaveID": *"\([^"]*\)".*/\1/p' | head -n 1)
[ -n "$enclave" ] || {
    echo "error: nitro-cli run-enclave: expected an EnclaveID in what it printed, got none" >&2
    exit 1
}

terminate() {
    nitro-cli terminate-enclave --enclave-id "$enclave" >/dev/null
    exit 0
}
trap terminate TERM INT
[ -z "$stopping" ] || terminate
echo "enclave $enclave runs with CID $CID"

# A shell runs its trap only between commands, or while it waits.
while nitro-cli describe-enclaves | grep -qF "\"$enclave\""; do
    sleep "$POLL_S" &
    wait $!
done
echo "error: enclave $enclave has ended; nitro-cli console shows why, for one in debug mode" >&2
exit 1
