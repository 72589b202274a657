"""What ``kmstool-instance serve`` is made of: its socket and its sessions. Internal: not part of the public API."""
