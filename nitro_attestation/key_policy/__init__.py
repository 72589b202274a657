"""KMS key policies: parsed, evaluated, explained and written (pure).

Internal: what is public stands in ``nitro_attestation``.
"""
