"""Attestation documents: their CBOR, payload, certificates and signature (pure).

Internal: the public names are in ``nitro_attestation``.
"""
