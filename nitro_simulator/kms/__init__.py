"""A KMS that verifies attestation documents and enforces key policies."""
