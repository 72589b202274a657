"""What ``kmstool-instance serve`` is made of: its socket and its sessions."""
