"""The hops between this instance and KMS, looked at one by one. Internal: not part of the public API."""
