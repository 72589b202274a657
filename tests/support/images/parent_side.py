"""The parent's side of an enclave: NSM, proxy and KMS, and kmstool-instance, which asks the enclave to decrypt.

python -m tests.support.images.parent_side CID RAM OUT: CID is the enclave's, and RAM is a folder in memory. The program
writes KMS's authority to OUT when everything is ready, and at the end the results as JSON.
"""

from __future__ import annotations

import json
import os
import socket
import sys
import threading
import time
from pathlib import Path

from nitro_simulator.account import Enclave, SimulatedAccount
from nitro_simulator.deployment import processes
from tests.support.vsock.ports import CID_LOCAL
from vsock_wire.errors import TransportError
from vsock_wire.net.address import CID_ANY, VsockAddress
from vsock_wire.net.sockets import connect_socket, listen_socket
from vsock_wire.protocol.json_codec import encode_base64

ENCLAVE_PORT, PROXY_PORT, MODULE_PORT = 3_000, 8_000, 9_000
LISTEN_TIMEOUT_S = 60.0
POLL_S = 0.01
PLAINTEXT = b"for the image alone"


class ModuleSwitch:
    """Relays what arrives over vsock to the simulated NSM of one of two enclaves."""

    def __init__(self, enclave: Enclave) -> None:
        self.enclave = enclave
        self._listener = listen_socket(VsockAddress(CID_ANY, MODULE_PORT))
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            client, _ = self._listener.accept()
            with client, connect_socket(self.enclave.nsm_address, timeout_s=30.0) as module:
                _pass_one_message(client, module)
                _pass_one_message(module, client)


def main() -> None:
    """Run everything, and write the results."""
    enclave_cid, ram, out = int(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3])
    (ram / "state").mkdir()
    with SimulatedAccount(ram / "state") as account:
        switch = ModuleSwitch(account.enclave)
        kms_host, kms_port = account.kms_server.address
        with processes.running(
            ["vsock-proxy", "--config", str(account.allowlist_file), "--drain-timeout", "1", str(PROXY_PORT),
             kms_host, str(kms_port)],
            listens_on=VsockAddress(CID_LOCAL, PROXY_PORT),
            log_file=out / "proxy.log",
        ):  # fmt: skip
            _write_whole(out / "ca.pem", account.ca_file.read_text())
            found: dict[str, object] = {
                "listens_at_s": _await_enclave(enclave_cid),
                "enclave": _decrypt(account, enclave_cid),
            }
            found["pcr0 seen by KMS"] = account.kms.journal.entries()[-1].pcr0
            switch.enclave = account.other_enclave
            found["other_enclave"] = _decrypt(account, enclave_cid)
            found["pcr0 refused by KMS"] = account.kms.journal.entries()[-1].pcr0
            found["expected_pcr0"] = account.enclave.pcr0.hex()
            found["other_pcr0"] = account.other_enclave.pcr0.hex()
        _write_whole(out / "result.json", json.dumps(found))
        os._exit(0)  # the remaining listeners belong to the guest and end with it


def _write_whole(path: Path, text: str) -> None:
    """Write a file atomically."""
    unfinished = path.with_suffix(".unfinished")
    unfinished.write_text(text)
    unfinished.rename(path)


def _await_enclave(cid: int) -> float:
    """Return the time at which the enclave listened, in seconds of this kernel's monotonic clock."""
    deadline = time.monotonic() + LISTEN_TIMEOUT_S
    while time.monotonic() < deadline:
        try:
            connect_socket(VsockAddress(cid, ENCLAVE_PORT), timeout_s=1.0).close()
        except TransportError:
            time.sleep(POLL_S)
        else:
            return time.monotonic()
    sys.exit("error: the enclave does not listen")


def _decrypt(account: SimulatedAccount, cid: int) -> dict[str, object]:
    ciphertext = encode_base64(account.key.seal(PLAINTEXT, encryption_context={}))
    done = processes.run_instance(
        ["--cid", str(cid), "--region", account.region, ciphertext], environment=account.imds_environment
    )
    return {"exit code": done.returncode, "stdout": done.stdout.decode(), "stderr": done.stderr.decode()}


def _pass_one_message(source: socket.socket, target: socket.socket) -> None:
    header = source.recv(4, socket.MSG_WAITALL)
    target.sendall(header + source.recv(int.from_bytes(header, "big"), socket.MSG_WAITALL))


if __name__ == "__main__":
    main()
