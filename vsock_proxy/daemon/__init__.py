"""The process around the server: start, signals, systemd, metrics and file descriptors."""
