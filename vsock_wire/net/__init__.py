"""Addresses and sockets of every kind that the project dials or listens on.

Internal: not part of the public API.
"""
