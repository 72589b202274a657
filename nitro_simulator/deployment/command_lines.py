"""The command lines with which the project's tools run against a simulated account (pure)."""

from __future__ import annotations

from nitro_simulator.account import Enclave, SimulatedAccount
from vsock_wire.net.address import UnixAddress


def proxy_address(account: SimulatedAccount, name: str = "proxy") -> UnixAddress:
    """Return where vsock-proxy listens in place of vsock port 8000."""
    return UnixAddress(str(account.directory / f"{name}.sock"))


def enclave_address(account: SimulatedAccount, name: str = "enclave") -> UnixAddress:
    """Return where kmstool-enclave listens in place of vsock port 3000."""
    return UnixAddress(str(account.directory / f"{name}.sock"))


def proxy_command(account: SimulatedAccount, *, name: str = "proxy", kms_port: int | None = None) -> list[str]:
    """Return the command of the proxy.

    Args:
        account: whose KMS it leads to.
        name: of its socket.
        kms_port: where it really leads, if not straight to KMS.
    """
    port = str(kms_port or account.kms_server.port)
    listen = str(proxy_address(account, name))
    return ["vsock-proxy", "--config", str(account.allowlist_file), listen, "127.0.0.1", port]


def enclave_command(
    account: SimulatedAccount, enclave: Enclave | None = None, *, name: str = "enclave", proxy_name: str = "proxy"
) -> list[str]:
    """Return the command of the enclave's server.

    Args:
        account: whose KMS it asks, through the proxy.
        enclave: as which enclave; by default the one the key's policy trusts.
        name: of its socket.
        proxy_name: of the proxy's socket.
    """
    return [
        "kmstool-enclave",
        "--allow-non-vsock",
        "--listen", str(enclave_address(account, name)),
        "--proxy", str(proxy_address(account, proxy_name)),
        "--nsm", str((enclave or account.enclave).nsm_address),
        "--ca-file", str(account.ca_file),
    ]  # fmt: skip


def instance_arguments(account: SimulatedAccount, *, name: str = "enclave") -> list[str]:
    """Return the options with which kmstool-instance asks that server."""
    return ["--enclave", str(enclave_address(account, name)), "--region", account.region]
