"""Requests of kmstool's own instance program, as it writes them."""

from __future__ import annotations

KMSTOOL_SET_CLIENT = (
    rb'{ "Operation": "SetClient", "AwsAccessKeyId": "AKIDMOCK00000000TEST",'
    rb' "AwsSecretAccessKey": "mockSecret\/notARealOne+0000000000000000000",'
    rb' "AwsSessionToken": "mockSessionToken==", "AwsRegion": "us-east-1" }'
)
"""The bytes of kmstool's own instance program, with its escaped slash and its spaces."""
KMSTOOL_DECRYPT = rb'{ "Operation": "Decrypt", "Ciphertext": "AQID", "EncryptionContext": { "a": "1" } }'
