"""Parse, evaluate, explain and write KMS key policies (pure).

Internal: the public names are in ``nitro_attestation``.
"""
