"""Partly unknown requests: what a key policy can decide about them, and who can make them (pure).

Internal: the public names are in ``nitro_attestation``.
"""
