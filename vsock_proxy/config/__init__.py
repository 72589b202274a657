"""The config file: the allowlist, the routes, and where both are read from.

Internal: not part of the public API.
"""
