"""Conditions of key policies: their keys, their operators, and whether they hold (pure).

Internal: the public names are in ``nitro_attestation``.
"""
