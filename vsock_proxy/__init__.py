"""The proxy on the parent instance: connections from an enclave's vsock to the TCP destinations an allowlist names.

It moves bytes and reads none of them: TLS ends inside the enclave.
"""
