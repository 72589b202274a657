"""The checks of ``kmstool-instance doctor``: one for each hop between this instance and KMS.

Internal: not part of the public API.
"""
