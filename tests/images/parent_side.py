"""What stands beside the enclave in its guest: NSM, proxy and KMS, and kmstool-instance, which has it decrypt.

python -m tests.images.parent_side DEVICE RAM OUT: DEVICE is the program that plays /dev/nsm, RAM/run the
enclave's /run, and OUT takes what came out, as JSON.
"""

from __future__ import annotations

import json
import os
import socket
import stat
import subprocess
import sys
import threading
import time
from pathlib import Path

from simulator import processes
from simulator.account import Enclave, SimulatedAccount
from tests.vsock.ports import CID_LOCAL
from vsock_wire.address import CID_ANY, VsockAddress
from vsock_wire.errors import TransportError
from vsock_wire.messages import encode_base64
from vsock_wire.sockets import connect_socket, listen_socket

MODULES = (
    "net/vmw_vsock/vsock",
    "net/vmw_vsock/vmw_vsock_virtio_transport_common",
    "net/vmw_vsock/vsock_loopback",
    "fs/fuse/fuse",
    "fs/fuse/cuse",
)
"""Each needs the one before it."""
ENCLAVE_PORT, PROXY_PORT, MODULE_PORT = 3_000, 8_000, 9_000
LISTEN_TIMEOUT_S = 60.0
POLL_S = 0.01
PLAINTEXT = b"for the image alone"
NSM_DEVICE = Path("/dev/nsm")


class ModuleSwitch:
    """Passes what comes over vsock on to the simulated NSM of one enclave or of another."""

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
    """Run everything, and write what came out."""
    device, ram, out = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3])
    _prepare_kernel()
    (ram / "state").mkdir()
    with SimulatedAccount(ram / "state") as account:
        (ram / "run" / "ca.pem").write_bytes(account.ca_file.read_bytes())
        switch = ModuleSwitch(account.enclave)
        kms_host, kms_port = account.kms_server.address
        with processes.running(
            ["vsock-proxy", "--config", str(account.allowlist_file), str(PROXY_PORT), kms_host, str(kms_port)],
            listens_on=VsockAddress(CID_LOCAL, PROXY_PORT),
            log_file=out / "proxy.log",
        ):
            subprocess.Popen([device, str(CID_LOCAL), str(MODULE_PORT)])
            start_up_s = _await_enclave(ram / "run" / "started")
            found: dict[str, object] = {
                "start_up_s": start_up_s,
                "is_character_device": stat.S_ISCHR(NSM_DEVICE.stat().st_mode),
                "enclave": _decrypt(account),
            }
            found["pcr0 seen by KMS"] = account.kms.journal.entries()[-1].pcr0
            switch.enclave = account.other_enclave
            found["other_enclave"] = _decrypt(account)
            found["pcr0 refused by KMS"] = account.kms.journal.entries()[-1].pcr0
            found["expected_pcr0"] = account.enclave.pcr0.hex()
            found["other_pcr0"] = account.other_enclave.pcr0.hex()
        (out / "result.json").write_text(json.dumps(found))
        os._exit(0)  # what listens on is the guest's, and ends with it


def _prepare_kernel() -> None:
    folder = Path("/usr/lib/uml/modules", os.uname().release, "kernel")
    for module in MODULES:
        subprocess.run(["insmod", folder / f"{module}.ko"], check=True)
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)


def _await_enclave(started: Path) -> float:
    """Return the seconds from the start of the image's command until it listened."""
    deadline = time.monotonic() + LISTEN_TIMEOUT_S
    while time.monotonic() < deadline:
        try:
            connect_socket(VsockAddress(CID_LOCAL, ENCLAVE_PORT), timeout_s=1.0).close()
        except TransportError:
            time.sleep(POLL_S)
        else:
            return time.monotonic() - float(started.read_text())
    sys.exit("error: the enclave does not listen")


def _decrypt(account: SimulatedAccount) -> dict[str, object]:
    ciphertext = encode_base64(account.key.seal(PLAINTEXT, encryption_context={}))
    done = processes.run_instance(
        ["--cid", str(CID_LOCAL), "--region", account.region, ciphertext], environment=account.imds_environment
    )
    return {"exit code": done.returncode, "stdout": done.stdout.decode(), "stderr": done.stderr.decode()}


def _pass_one_message(source: socket.socket, target: socket.socket) -> None:
    header = source.recv(4, socket.MSG_WAITALL)
    target.sendall(header + source.recv(int.from_bytes(header, "big"), socket.MSG_WAITALL))


if __name__ == "__main__":
    main()
