"""What to do about a destination that is not permitted (pure)."""

from __future__ import annotations

import re

from vsock_proxy.config.destination import Destination

_CHINA_WITHOUT_CN = re.compile(r"(?:.*\.)?cn-[a-z]+-[0-9]+\.amazonaws\.com", re.ASCII)


def not_allowed_hint(destination: Destination, file: object) -> str:
    """Return what to write to which file so that ``destination`` is permitted.

    Args:
        destination: what is not permitted.
        file: the config file; it need not exist yet.
    """
    return china_hint(destination.host) or f"add {destination.entry} to allowlist in {file}"


def china_hint(host: str) -> str | None:
    """Return what is wrong with a name of AWS in China that lacks ``.cn``, or None; AWS's own files have such names.

    Args:
        host: a host name in lower case.
    """
    if not _CHINA_WITHOUT_CN.fullmatch(host):
        return None
    return f"AWS's host names in China end in .amazonaws.com.cn, unlike in AWS's own file: use {host}.cn"
