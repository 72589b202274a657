"""Addresses and sockets that the project connects to or listens on.

Internal: not part of the public API.
"""
