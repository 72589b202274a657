"""The metadata of an enclave image: what its builder says of it. Metadata is not measured, so anyone can change it.

Source: aws-nitro-enclaves-image-format, src/defs/mod.rs, EifIdentityInfo.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from nitro_attestation.errors import ImageError
from nitro_attestation.strict_json import decode_strict_json

UNKNOWN = "Unknown"
"""What AWS's builder writes where it does not know the kernel."""
_KERNEL_CONFIG = re.compile(r"^# ([A-Za-z0-9]+)/\S+ ([0-9]+\.[0-9]+\.[0-9]+)\S* Kernel Configuration", re.MULTILINE)


@dataclass(frozen=True)
class Metadata:
    """What a builder says of an image.

    Attributes:
        name: of the image.
        version: of the image; nitro-cli takes the container image's id.
        build_time: when it was built, ISO 8601.
        build_tool: what built it.
        build_tool_version: the version of that.
        operating_system: of the kernel, such as Linux.
        kernel_version: of the kernel, such as 6.1.0.
        docker_info: what the engine says of the container image; any JSON.
        custom: what the caller adds; any JSON.
    """

    name: str
    version: str
    build_time: str
    build_tool: str
    build_tool_version: str
    operating_system: str = UNKNOWN
    kernel_version: str = UNKNOWN
    docker_info: Any = field(default=None, repr=False)
    custom: Any = field(default=None, repr=False)

    def build_fields(self) -> dict[str, str]:
        """Return the fields about the build by the names that AWS gives them."""
        return {
            "BuildTime": self.build_time,
            "BuildTool": self.build_tool,
            "BuildToolVersion": self.build_tool_version,
            "OperatingSystem": self.operating_system,
            "KernelVersion": self.kernel_version,
        }


def parse_metadata(text: bytes) -> Metadata:
    """Parse the metadata section of a file.

    Raises:
        ImageError: it is not JSON, or lacks a field.
    """
    try:
        value = decode_strict_json(text.decode("utf-8"))
    except ValueError:
        raise ImageError("metadata", "not JSON") from None
    if not isinstance(value, dict):
        raise ImageError("metadata", "not a JSON object")
    build = value.get("BuildMetadata")
    if not isinstance(build, dict):
        raise ImageError("metadata: BuildMetadata", "missing, or not a JSON object")
    return Metadata(
        name=_text(value, "ImageName"),
        version=_text(value, "ImageVersion"),
        build_time=_text(build, "BuildTime"),
        build_tool=_text(build, "BuildTool"),
        build_tool_version=_text(build, "BuildToolVersion"),
        operating_system=_text(build, "OperatingSystem"),
        kernel_version=_text(build, "KernelVersion"),
        docker_info=value.get("DockerInfo"),
        custom=value.get("CustomMetadata"),
    )


def _text(fields: Mapping[str, Any], name: str) -> str:
    value = fields.get(name)
    if not isinstance(value, str):
        raise ImageError(f"metadata: {name}", "missing, or not a text")
    return value


def encode_metadata(metadata: Metadata) -> bytes:
    """Encode metadata as AWS's builder writes it: compact JSON, with the fields in this order."""
    value = {
        "ImageName": metadata.name,
        "ImageVersion": metadata.version,
        "BuildMetadata": metadata.build_fields(),
        "DockerInfo": metadata.docker_info,
        "CustomMetadata": metadata.custom,
    }
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode("utf-8")


def parse_kernel_config(text: str) -> tuple[str, str]:
    """Return operating system and version of a kernel by its configuration file (``bzImage.config``).

    Returns:
        Such as ("Linux", "6.1.12"); UNKNOWN twice if the file does not say it.
    """
    match = _KERNEL_CONFIG.search(text)
    return (match[1], match[2]) if match else (UNKNOWN, UNKNOWN)
