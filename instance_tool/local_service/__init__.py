"""The parts of ``kmstool-instance serve``: its socket and its sessions. Internal: not part of the public API."""
