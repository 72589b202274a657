"""Replace the system's resolver in a process that has this folder on PYTHONPATH.

SCRIPTED_HOSTS names a file with one name and its addresses per line. A name that is not in the file does not resolve;
the address ``hang`` means that no name server answers, ``slow`` that none does for SLOW_S. Nothing else changes.
"""

from __future__ import annotations

import os
import socket
import sys
import threading
from pathlib import Path
from typing import Any

SLOW_S = 2.0

_system_getaddrinfo = socket.getaddrinfo


def _getaddrinfo(host: str, port: Any, family: int = 0, *flags: int, **more: Any) -> list[Any]:
    addresses = dict(line.split(maxsplit=1) for line in Path(os.environ["SCRIPTED_HOSTS"]).read_text().splitlines())
    if host not in addresses:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
    if addresses[host] == "hang":
        print("the scripted resolver hangs", file=sys.stderr, flush=True)
        threading.Event().wait()
    if addresses[host] == "slow":
        threading.Event().wait(SLOW_S)
        raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")
    answers = [_system_getaddrinfo(address, port, 0, *flags, **more) for address in addresses[host].split()]
    return [answer for (answer, *_) in answers if family in (0, answer[0])]


socket.getaddrinfo = _getaddrinfo  # type: ignore[assignment]  # the stub's overloads say more than is needed here
