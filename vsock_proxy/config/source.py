"""Where the configuration comes from: a file, and a route that the command line may add."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from vsock_proxy.config.config_file import load_config
from vsock_proxy.config.model import Config, Route
from vsock_proxy.errors import AwsText, ConfigError, NotAllowedError
from vsock_wire.net.address import CID_ANY

DEFAULT_CONFIG_PATH = Path("/etc/nitro_enclaves/vsock-proxy.yaml")
"""The default of AWS's vsock-proxy."""
BUILT_IN_CONFIG_PATH = Path(__file__).with_name("kms_endpoints.yaml")
"""All KMS endpoints; used if no config file was named and the default one does not exist."""


@dataclass(frozen=True)
class ConfigSource:
    """Where the configuration comes from, at startup and at each reload.

    Attributes:
        path: the config file; None for AWS's default file or, if that does not exist, all KMS endpoints.
        cid: the CID to listen on if only a port is given.
        route: the route on the command line, in addition to those in the file.
    """

    path: Path | None
    cid: int = CID_ANY
    route: Route | None = None

    @property
    def file(self) -> Path:
        """The file that ``load`` would read now."""
        if self.path is not None:
            return self.path
        return DEFAULT_CONFIG_PATH if DEFAULT_CONFIG_PATH.exists() else BUILT_IN_CONFIG_PATH

    def load(self) -> Config:
        """Read and check the configuration.

        Raises:
            ConfigError: see ``load_config``; or two routes listen on the same address.
            NotAllowedError: the allowlist does not permit a route.
        """
        config = load_config(self.file, cid=self.cid)
        if self.route is None:
            return config
        if not config.allowlist.could_permit(self.route.destination):
            raise NotAllowedError(
                f"{AwsText.CHECK_FAILED}: {AwsText.NOT_ALLOWED}: {self.route.destination}",
                hint=f"add its address and port to the allowlist in {self.file}",
            )
        if any(route.listen == self.route.listen for route in config.routes):
            raise ConfigError(f"{self.file}: routes: the command line already has a route on {self.route.listen}")
        return Config(config.allowlist, (*config.routes, self.route))
