#!/bin/sh
# Runs one enclave for as long as this process lives, with EIF, CID, CPUS and MEMORY (MiB) from the environment. Exits
# with code 1 when the enclave is gone, so that systemd or Kubernetes starts it again. On SIGTERM it first terminates the
# enclave. nitro-cli itself returns as soon as an enclave runs, and does not report when it ends.
set -eu
: "${EIF:?not set; set it to a file built by make eif}" "${CID:?not set; set it to a vsock CID, such as 16}"
POLL_S=${POLL_S:-5}

# Nothing can terminate the enclave until it has an id, so a signal waits for that.
stopping=''
trap 'stopping=1' TERM INT

started=$(nitro-cli run-enclave --eif-path "$EIF" --enclave-cid "$CID" \
    --cpu-count "${CPUS:-2}" --memory "${MEMORY:-512}")
enclave=$(printf '%s\n' "$started" | sed -n 's/.*"EnclaveID": *"\([^"]*\)".*/\1/p' | head -n 1)
[ -n "$enclave" ] || {
    echo "error: nitro-cli run-enclave: no EnclaveID in its output" >&2
    exit 1
}

terminate() {
    nitro-cli terminate-enclave --enclave-id "$enclave" >/dev/null
    exit 0
}
trap terminate TERM INT
[ -z "$stopping" ] || terminate
echo "enclave $enclave runs with CID $CID"

# A shell runs its traps only between commands or during wait.
while nitro-cli describe-enclaves | grep -qF "\"$enclave\""; do
    sleep "$POLL_S" &
    wait $!
done
echo "error: enclave $enclave has ended; for one in debug mode, nitro-cli console shows why" >&2
exit 1
