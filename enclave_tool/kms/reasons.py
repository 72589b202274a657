"""Reads KMS's own error texts for the reason of a refusal (pure).

AWS puts the reason of some refusals into the text only. This module is the only one that reads these texts. It matches
them as a whole, against the forms that AWS documents or that public reports quote; any other text has no known reason,
and the hint then covers them all. Nothing depends on a reason but the exit code and the hint.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from vsock_wire.protocol.kms_operations import KMS_OPERATIONS
from vsock_wire.protocol.refusals.row import Reason
from vsock_wire.protocol.vocabulary import Operation

MAX_REASON_TEXT_CHARS = 8_192
"""How much of a text is read. The ARNs of a key, a session and a policy have a few hundred characters each."""
_ACCESS_CODES = frozenset({"AccessDeniedException", "AccessDenied"})
_ACCESS = re.compile(
    r"User: \S+ is not authorized to perform: kms:\w+"
    r"(?: on (?:resource: \S+|this resource|the resource associated with this ciphertext))?"
    r" (?:because no (?P<silent>[A-Za-z -]+?) allows the kms:\w+ action"
    r"|with an explicit deny in an? (?P<denying>[A-Za-z -]+?)"
    r"|(?P<missing>because the resource does not exist in this Region, no resource-based policies allow access, or a"
    r" resource-based policy explicitly denies access))"
    r"(?:[.:].*)?",
    re.DOTALL,
)
"""Source: IAM user guide, "Troubleshoot access denied error messages", whose first form has no resource. The policy's
ARN may follow an explicit deny. The third form is KMS's own, for a key of another account or of no account."""
_MISSING_KEY = re.compile(
    r"The ciphertext refers to a (?:customer master|KMS) key that does not exist, does not exist in this region, or you"
    r" are not allowed to access\.?"
)
"""KMS's older text for the same."""
_SILENT = {
    "resource-based policy": Reason.NO_RESOURCE_POLICY_ALLOWS,
    "identity-based policy": Reason.NO_IDENTITY_POLICY_ALLOWS,
    "VPC endpoint policy": Reason.NO_VPC_ENDPOINT_POLICY_ALLOWS,
    "service control policy": Reason.NO_SERVICE_CONTROL_POLICY_ALLOWS,
    "resource control policy": Reason.NO_RESOURCE_CONTROL_POLICY_ALLOWS,
    "permissions boundary": Reason.NO_PERMISSIONS_BOUNDARY_ALLOWS,
    "session policy": Reason.NO_SESSION_POLICY_ALLOWS,
}
_DENYING = {
    "resource-based policy": Reason.DENY_IN_RESOURCE_POLICY,
    "identity-based policy": Reason.DENY_IN_IDENTITY_POLICY,
    "VPC endpoint policy": Reason.DENY_IN_VPC_ENDPOINT_POLICY,
    "service control policy": Reason.DENY_IN_SERVICE_CONTROL_POLICY,
    "resource control policy": Reason.DENY_IN_RESOURCE_CONTROL_POLICY,
    "permissions boundary": Reason.DENY_IN_PERMISSIONS_BOUNDARY,
    "session policy": Reason.DENY_IN_SESSION_POLICY,
}

_VALIDATION_CODES = frozenset({"ValidationException", "ValidationError"})
_CONSTRAINT = re.compile(r"(?:^|: |; )Value(?: '.*?')?(?: null)? at '(?P<member>[\w.]+)' failed to satisfy constraint")
"""How AWS's services report a value that their model excludes; one text may report several."""
_DOCUMENT = re.compile(r"\battestation|\brecipient\b", re.IGNORECASE)

_CLOCK_CODES = frozenset({"RequestTimeTooSkewed", "RequestExpired", "RequestInTheFuture"})
"""Codes that always mean clock skew. Source: AWS's SDKs."""
_SIGNATURE_CODES = frozenset({"InvalidSignatureException", "SignatureDoesNotMatch"})
_CLOCK_TEXTS = ("Signature expired", "Signature not yet current")
"""How KMS's text begins if a signature was refused because of its time."""


def refusal_reason(operation: str, code: str, text: str) -> Reason | None:
    """Return why KMS refused, or None if the code leaves nothing open or the text does not say.

    Args:
        operation: KMS's name of the operation.
        code: KMS's error code.
        text: KMS's own text, possibly empty.
    """
    text = text[:MAX_REASON_TEXT_CHARS]
    if code in _ACCESS_CODES:
        return _access_reason(text)
    if code in _VALIDATION_CODES:
        return _validation_reason(operation, text)
    return Reason.CLOCK if _is_about_clock(code, text) else None


def is_about_clock(error: Mapping[str, object]) -> bool:
    """Return whether the Error of a response says that the signature's time was wrong."""
    return _is_about_clock(str(error.get("Code")), str(error.get("Message")))


def _is_about_clock(code: str, text: str) -> bool:
    return code in _CLOCK_CODES or (code in _SIGNATURE_CODES and text.startswith(_CLOCK_TEXTS))


def _access_reason(text: str) -> Reason | None:
    found = _ACCESS.fullmatch(text)
    if found is None:
        return Reason.KEY_NOT_FOUND if _MISSING_KEY.fullmatch(text) else None
    if found["missing"]:
        return Reason.KEY_NOT_FOUND
    return _SILENT.get(found["silent"]) if found["silent"] else _DENYING.get(found["denying"])


def _validation_reason(operation: str, text: str) -> Reason | None:
    """Return what is not valid.

    AWS does not publish the text about an attestation document. So a text counts as one about a document if it names
    one, and as unknown if it names no parameter of the operation either. Without a document, it must be a parameter.
    """
    members = [member.lower() for member in _CONSTRAINT.findall(text)]
    if members:
        is_document = any(member.startswith("recipient") for member in members)
        return Reason.ATTESTATION_DOCUMENT if is_document else Reason.PARAMETER
    spec = KMS_OPERATIONS.get(Operation(operation)) if operation in set(Operation) else None
    if spec is None or spec.delivers is None:
        return Reason.PARAMETER
    if _DOCUMENT.search(text):
        return Reason.ATTESTATION_DOCUMENT
    squeezed = re.sub(r"[\s_-]", "", text).lower()
    return Reason.PARAMETER if any(field.parameter.lower() in squeezed for field in spec.request) else None
