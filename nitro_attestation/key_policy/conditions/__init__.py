"""Conditions of key policies: their keys, their operators, and what holds (pure).

Internal: what is public stands in ``nitro_attestation``.
"""
