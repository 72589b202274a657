"""The process around the server: start, signals, systemd, metrics and file descriptors.

Internal: not part of the public API.
"""
