"""kmstool-eif: builds, measures and compares enclave image files. Internal; ``nitro_attestation`` is the library."""
