"""Attestation documents: their CBOR, payload, certificates and signature (pure).

Internal: what is public stands in ``nitro_attestation``.
"""
