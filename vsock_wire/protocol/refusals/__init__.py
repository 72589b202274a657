"""What every refusal of KMS means: its exit code, and what the reader can do about it (pure).

``row`` says what a row of the table is, ``access`` and ``others`` have the rows, and ``table`` looks them up. The
programs of both sides use this one table, so the same refusal has the same exit code and hint wherever it occurs.
docs/reference/kms-refusals.md is generated from it. Internal: not part of the public API.
"""
