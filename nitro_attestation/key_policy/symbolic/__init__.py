"""Requests of which not everything is known: what a key policy can decide on them, and who can make them (pure).

Internal: what is public stands in ``nitro_attestation``.
"""
