"""Where the configuration comes from: a file, and a route that the command line may add."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from vsock_proxy.config.config_file import load_config
from vsock_proxy.config.destination import Destination
from vsock_proxy.config.hints import not_allowed_hint
from vsock_proxy.config.model import Config, Route
from vsock_proxy.errors import AwsText, ConfigError, NotAllowedError
from vsock_wire.net.address import CID_ANY

DEFAULT_CONFIG_PATH = Path("/etc/nitro_enclaves/vsock-proxy.yaml")
"""The default of AWS's vsock-proxy."""
BUILT_IN_CONFIG_PATH = Path(__file__).with_name("kms_endpoints.yaml")
"""All KMS endpoints; used if no config file was named and the default one does not exist."""
_BUILT_IN = "the built-in list of KMS endpoints"


@dataclass(frozen=True)
class ConfigSource:
    """Where the configuration comes from, at startup and at each reload.

    Attributes:
        path: the config file; None for AWS's default file or, if that does not exist, all KMS endpoints.
        cid: the CID to listen on if only a port is given.
        route: the route on the command line, in addition to those in the file.
        is_strict: whether the entries of the allowlist permit only what they say.
    """

    path: Path | None
    cid: int = CID_ANY
    route: Route | None = None
    is_strict: bool = False

    @property
    def file(self) -> Path:
        """The file that ``load`` would read now."""
        if self.path is not None:
            return self.path
        return DEFAULT_CONFIG_PATH if DEFAULT_CONFIG_PATH.exists() else BUILT_IN_CONFIG_PATH

    @property
    def file_to_write(self) -> Path:
        """The file that an operator can write to change what is permitted."""
        return self.path or DEFAULT_CONFIG_PATH

    def __str__(self) -> str:
        file = self.file
        return _BUILT_IN if file == BUILT_IN_CONFIG_PATH else str(file)

    def load(self) -> Config:
        """Read and check the configuration.

        Raises:
            ConfigError: see ``load_config``; or two routes listen on the same address.
            NotAllowedError: the allowlist does not permit a route.
        """
        config = load_config(self.file, cid=self.cid, is_strict=self.is_strict)
        if self.route is None:
            return config
        destination = self.route.destination
        if isinstance(destination, Destination) and not config.allowlist.could_permit(destination):
            raise self.not_allowed(destination)
        if not self.route.has_own_port and any(route.listen == self.route.listen for route in config.routes):
            raise ConfigError(f"{self.file}: routes: the command line already has a route on {self.route.listen}")
        return replace(config, routes=(*config.routes, self.route))

    def not_allowed(self, destination: Destination) -> NotAllowedError:
        """Return the error that the allowlist does not permit ``destination``, with what to write to which file."""
        return NotAllowedError(
            f"{AwsText.CHECK_FAILED}: {AwsText.NOT_ALLOWED}: {destination}",
            hint=not_allowed_hint(destination, self.file_to_write),
        )
