"""KMS keys: what each kind can do, their states and grants, and a store of them (internal)."""
