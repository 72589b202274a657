"""Attestation documents: their CBOR, payload, certificates and signature (pure)."""
