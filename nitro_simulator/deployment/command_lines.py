"""The command lines that run the project's tools against a simulated account (pure)."""

from __future__ import annotations

from nitro_simulator.account import Enclave, SimulatedAccount
from vsock_wire.net.address import UnixAddress


def proxy_address(account: SimulatedAccount, name: str = "proxy") -> UnixAddress:
    """Return where vsock-proxy listens, instead of on vsock port 8000."""
    return UnixAddress(str(account.directory / f"{name}.sock"))


def enclave_address(account: SimulatedAccount, name: str = "enclave") -> UnixAddress:
    """Return where kmstool-enclave listens, instead of on vsock port 3000."""
    return UnixAddress(str(account.directory / f"{name}.sock"))


def proxy_command(account: SimulatedAccount, *, name: str = "proxy", kms_port: int | None = None) -> list[str]:
    """Return the command of the proxy.

    Args:
        account: the account with the KMS to forward to.
        name: name of its socket.
        kms_port: the port to forward to, if not that of KMS itself.
    """
    port = str(kms_port or account.kms_server.port)
    listen = str(proxy_address(account, name))
    return ["vsock-proxy", "--config", str(account.allowlist_file), listen, "127.0.0.1", port]


def enclave_command(
    account: SimulatedAccount, enclave: Enclave | None = None, *, name: str = "enclave", proxy_name: str = "proxy"
) -> list[str]:
    """Return the command of the enclave's server.

    Args:
        account: the account with the KMS to call, through the proxy.
        enclave: the enclave to run as; by default the one that the key's policy trusts.
        name: name of its socket.
        proxy_name: name of the proxy's socket.
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
    """Return the options that point kmstool-instance to that server."""
    return ["--enclave", str(enclave_address(account, name)), "--region", account.region]
