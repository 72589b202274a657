"""The ASN.1 schema of a CiphertextForRecipient, for pyasn1 (pure).

One schema for the whole message, instead of the usual two steps through ContentInfo's ANY, where pyasn1 loses the
end-of-contents octets. Sources: RFC 5652 section 6, RFC 3560, RFC 4055 section 4.1.
"""

from __future__ import annotations

from typing import Any

from pyasn1.type import namedtype, tag, univ


def _context(number: int, *, constructed: bool) -> tag.Tag:
    form = tag.tagFormatConstructed if constructed else tag.tagFormatSimple
    return tag.Tag(tag.tagClassContext, form, number)


def _sequence(*fields: namedtype.NamedType) -> Any:
    return univ.Sequence(componentType=namedtype.NamedTypes(*fields))


def _algorithm(parameters: namedtype.NamedType) -> Any:
    return _sequence(namedtype.NamedType("algorithm", univ.ObjectIdentifier()), parameters)


def _implicit_octets() -> Any:
    """``[0] IMPLICIT OCTET STRING``, primitive or in constructed segments."""
    octets: Any = univ.OctetString()
    return octets.subtype(implicitTag=_context(0, constructed=False))


# The schema, built once; pyasn1 clones it for each message.
_HASH_ALGORITHM = _algorithm(namedtype.OptionalNamedType("parameters", univ.Null("")))
_MASK_GEN_ALGORITHM = _algorithm(namedtype.NamedType("parameters", _HASH_ALGORITHM))
_OAEP_PARAMETERS = _sequence(
    namedtype.NamedType("hashAlgorithm", _HASH_ALGORITHM.subtype(explicitTag=_context(0, constructed=True))),
    namedtype.NamedType("maskGenAlgorithm", _MASK_GEN_ALGORITHM.subtype(explicitTag=_context(1, constructed=True))),
    namedtype.OptionalNamedType(
        "pSourceAlgorithm",
        _algorithm(namedtype.NamedType("parameters", univ.OctetString())).subtype(
            explicitTag=_context(2, constructed=True)
        ),
    ),
)
_RECIPIENT_IDENTIFIER = univ.Choice(
    componentType=namedtype.NamedTypes(
        namedtype.NamedType(
            "issuerAndSerialNumber",
            _sequence(
                namedtype.NamedType("issuer", univ.SequenceOf(componentType=univ.Any())),
                namedtype.NamedType("serialNumber", univ.Integer()),
            ),
        ),
        namedtype.NamedType("subjectKeyIdentifier", _implicit_octets()),
    )
)
_KEY_TRANS_RECIPIENT_INFO = _sequence(
    namedtype.NamedType("version", univ.Integer()),
    namedtype.NamedType("rid", _RECIPIENT_IDENTIFIER),
    namedtype.NamedType("keyEncryptionAlgorithm", _algorithm(namedtype.NamedType("parameters", _OAEP_PARAMETERS))),
    namedtype.NamedType("encryptedKey", univ.OctetString()),
)
_ENCRYPTED_CONTENT_INFO = _sequence(
    namedtype.NamedType("contentType", univ.ObjectIdentifier()),
    namedtype.NamedType(
        "contentEncryptionAlgorithm", _algorithm(namedtype.NamedType("parameters", univ.OctetString()))
    ),
    namedtype.NamedType("encryptedContent", _implicit_octets()),
)
CONTENT_INFO = _sequence(
    namedtype.NamedType("contentType", univ.ObjectIdentifier()),
    namedtype.NamedType(
        "content",
        _sequence(
            namedtype.NamedType("version", univ.Integer()),
            namedtype.NamedType("recipientInfos", univ.SetOf(componentType=_KEY_TRANS_RECIPIENT_INFO)),
            namedtype.NamedType("encryptedContentInfo", _ENCRYPTED_CONTENT_INFO),
        ).subtype(explicitTag=_context(0, constructed=True)),
    ),
)
