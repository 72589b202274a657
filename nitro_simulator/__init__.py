"""Local stand-ins for what only AWS has: a Nitro Security Module, a KMS that enforces attestation, and IMDSv2.

For developers' machines and tests. Every key, certificate and credential in here is made at start and thrown away; what
it keeps in memory is not protected, and nothing in it is a service for real secrets.
"""
