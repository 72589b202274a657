"""What is said before bytes are relayed: HTTP CONNECT with an enclave, the PROXY protocol with a destination (pure).

Internal: not part of the public API.
"""
