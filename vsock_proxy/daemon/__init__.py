"""The process around the server: startup, signals, systemd, metrics and file descriptors.

Internal: not part of the public API.
"""
