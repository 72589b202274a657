"""The AWS account that an access key id belongs to (pure)."""

from __future__ import annotations

import base64
import binascii
import re

_KEY_ID = re.compile(r"A[KS]IA([Q-Z2-7][A-Z2-7]{15})", re.ASCII)
"""A key id from March 2019 or later. Those from before begin with a lower letter and do not contain the account."""
_PREFIX_BYTES = 6
_ACCOUNT_DIGITS = 12


def account_of(access_key_id: str) -> str | None:
    """Return the account, 12 digits, or None if the key id does not contain it.

    The key id is base32 text after its prefix of four letters. The account is 40 bits in its first 48: all but the
    first and the last seven. AWS publishes no definition; source: "AWS Access Key ID formats" (awsteele.com, 2020) and
    "A short note on AWS key ID" (T. Be'ery, 2023). ``aws sts get-access-key-info`` tells the same.
    """
    match = _KEY_ID.fullmatch(access_key_id)
    if match is None:
        return None
    try:
        prefix = base64.b32decode(match[1])[:_PREFIX_BYTES]
    except binascii.Error:
        return None
    account = (int.from_bytes(prefix, "big") & 0x7FFF_FFFF_FF80) >> 7
    text = f"{account:0{_ACCOUNT_DIGITS}d}"
    return text if len(text) == _ACCOUNT_DIGITS else None
