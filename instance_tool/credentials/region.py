"""The AWS region of KMS, where the enclave sets none.

Looked for in this order: ``--region``, AWS_REGION, AWS_DEFAULT_REGION, the configuration of kmstool-instance, the
profile in the AWS configuration files, the instance metadata service. The last is asked only if an enclave turns out to
have no region of its own, because that takes a request to another host.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

from vsock_wire.errors import CredentialsError, InputError, quoted
from vsock_wire.protocol.messages import is_region_name

VARIABLES = ("AWS_REGION", "AWS_DEFAULT_REGION")
PROFILE_VARIABLES = ("AWS_DEFAULT_PROFILE", "AWS_PROFILE")
"""In the order of botocore, which finds the credentials of the same profile."""
DEFAULT_PROFILE = "default"
CONFIG_FILES = (
    ("AWS_SHARED_CREDENTIALS_FILE", "~/.aws/credentials", ""),
    ("AWS_CONFIG_FILE", "~/.aws/config", "profile "),
)
"""For each file: the variable that names it, its default, and what stands in front of a profile's name. As in botocore,
a region in the first wins. Source: AWS SDKs and Tools reference guide, "Shared config and credentials files"."""
MAX_CONFIG_BYTES = 1_048_576
"""Maximum size of an AWS configuration file; thousands of profiles fit."""
IMDS_TIMEOUT_S = 1.0
"""For IMDS's answer. It comes within milliseconds, or never, and every run without a region would wait for it."""
REGION_PATH = "/latest/meta-data/placement/region"
_OK = 200

_logger = logging.getLogger(__name__)


class Region(NamedTuple):
    """The name of a region, and where it was found, for people."""

    name: str
    origin: str


class RegionSource:
    """Finds the region to send to an enclave that sets none. Threads can share it.

    Args:
        given: the value of ``--region``; an enclave that sets a region itself then refuses the request.
        environ: the environment variables; None to look nowhere else than at ``given``.
        configured: returns the region of the configuration file of kmstool-instance, with its path; asked if needed.
        profile: the value of ``--profile``.
    """

    def __init__(
        self,
        given: str | None = None,
        environ: Mapping[str, str] | None = None,
        *,
        configured: Callable[[], Region | None] = lambda: None,
        profile: str | None = None,
    ) -> None:
        self.is_required = given is not None
        self._given = given
        self._environ = environ
        self._configured = configured
        self._profile = profile
        self._known: Region | None = None
        self._is_known = False
        self._looked_up: list[Region | None] = []
        self._lock = threading.Lock()

    def known(self) -> Region | None:
        """Return the region that this instance's settings give; None if they give none.

        Raises:
            InputError: the name that they give can be no region.
        """
        if not self._is_known:
            self._known = self._find()
            self._is_known = True
        return self._known

    def look_up(self) -> Region | None:
        """Return the region of this instance by IMDS, or None if IMDS does not tell within IMDS_TIMEOUT_S.

        Asks IMDS only once, so that all who share this source use the same region.
        """
        with self._lock:
            if not self._looked_up:
                self._looked_up.append(self._ask_imds())
            return self._looked_up[0]

    def _ask_imds(self) -> Region | None:
        if self._environ is None:
            return None
        from instance_tool.credentials.imds import ImdsSession  # noqa: PLC0415 - rarely needed

        try:
            answer = ImdsSession(self._environ, timeout_s=IMDS_TIMEOUT_S).get(REGION_PATH)
        except CredentialsError as error:
            _logger.info("region: none from IMDS: %s", error)
            return None
        name = answer.body.decode("utf-8", "replace").strip()
        return Region(name, "IMDS") if answer.status == _OK and is_region_name(name) else None

    def _find(self) -> Region | None:
        if self._given is not None:
            return _checked(Region(self._given, "--region"))
        if self._environ is None:
            return None
        environ = self._environ
        found = next((Region(environ[variable], variable) for variable in VARIABLES if environ.get(variable)), None)
        found = found or self._configured() or _region_of_profile(environ, self._profile)
        return None if found is None else _checked(found)


def _checked(region: Region) -> Region:
    if not is_region_name(region.name):
        raise InputError(
            f"{region.origin}: expected the name of an AWS region, got {quoted(region.name)}",
            hint="such as us-east-1; an availability zone, such as us-east-1a, is not a region",
        )
    return region


def _region_of_profile(environ: Mapping[str, str], profile: str | None) -> Region | None:
    name = profile or next((environ[variable] for variable in PROFILE_VARIABLES if environ.get(variable)), None)
    for variable, default, prefix in CONFIG_FILES:
        path = Path(environ.get(variable) or default)
        section = f"{prefix}{name or DEFAULT_PROFILE}"
        region = _read_region(path, section, is_default=name in (None, DEFAULT_PROFILE))
        if region:
            return Region(region, f"profile {name or DEFAULT_PROFILE}")
    return None


def _read_region(path: Path, section: str, *, is_default: bool) -> str | None:
    """Return the region in a section of an AWS configuration file; None if there is no such file, section or region.

    A file that cannot be read is reported and has no region: it matters only to those who want its credentials.
    """
    try:
        with path.expanduser().open("rb") as file:
            text = file.read(MAX_CONFIG_BYTES + 1).decode("utf-8")
    except (FileNotFoundError, NotADirectoryError, RuntimeError):  # no such file, or no home directory
        return None
    except PermissionError:  # the home directory of another user, as after sudo -u
        _logger.info("region: %s cannot be read (permission denied)", path)
        return None
    except (OSError, UnicodeDecodeError) as error:
        _logger.warning("region: %s cannot be read (%s)", path, getattr(error, "strerror", None) or "not UTF-8")
        return None
    if len(text) > MAX_CONFIG_BYTES:
        _logger.warning("region: %s is larger than %d bytes", path, MAX_CONFIG_BYTES)
        return None
    return _parse_region(text, path, {section, DEFAULT_PROFILE} if is_default else {section})


def _parse_region(text: str, path: Path, sections: set[str]) -> str | None:
    import configparser  # noqa: PLC0415 - only if there is a file

    parser = configparser.RawConfigParser(strict=False, default_section="")
    try:
        parser.read_string(text)
    except configparser.Error as error:
        _logger.warning("region: %s cannot be read (%s)", path, type(error).__name__)
        return None
    for name in parser.sections():
        if " ".join(name.replace('"', "").split()) in sections:
            region = parser.get(name, "region", fallback="").strip()
            if region:
                return region
    return None


def region_source(value: str | RegionSource | None) -> RegionSource:
    """Return a source of regions: ``value`` itself, or one that gives only the region that ``value`` names."""
    if isinstance(value, RegionSource):
        return value
    if value is not None and not isinstance(value, str):
        raise TypeError(f"region: expected a string, a RegionSource or None, got {type(value).__name__}")
    return RegionSource(value or None)
