"""The operations of KMS, by what they are about, and a table of them (internal)."""
