"""Verify attestation documents of Nitro Enclaves, and write and check AWS KMS key policies that require them.

Most callers verify an attestation document, compare it with the image they built, and take the enclave's public key::

    from datetime import UTC, datetime
    from pathlib import Path
    from nitro_attestation import parse_measurements, verify_document

    def key_of_my_enclave(document: bytes, nonce: bytes) -> bytes | None:
        pcrs = parse_measurements(Path("measurements.json").read_bytes())
        return verify_document(document, at=datetime.now(UTC), nonce=nonce, pcrs=pcrs).public_key_der

``measurements.json`` is what ``nitro-cli build-enclave`` prints. Every failure is a NitroAttestationError.

Simple:
    verify_document, AttestationDocument, AWS_NITRO_ROOT_SHA256, DEFAULT_LEEWAY: the signature, the certificates, and
        the fields. AttestationError names the VerificationStep that failed, and the field.
    parse_measurements, verify_measurements, identifying_pcrs: which image a document comes from.
    measure_image_file: the same measurements, from the enclave image file itself.
    attested_key_policy: a key policy that lets one image use a key.
    parse_policy, parse_caller, explain_policy, explanation_text: why a policy allows or denies an enclave's requests.

Advanced:
    decode_document_file, parse_unverified_document: documents from files, and parsing without verification.
    VerifiedDocument, document_text, document_json, explanation_json: reports for people and programs.
    evaluate_policy and attestation_context, caller_context, encryption_context_keys: evaluate a request you describe.
    find_gaps: ways around the attestation in a policy. default_policy: the policy of a key created without one.

The package works without the rest of the project: it opens no sockets, reads no clock, calls no AWS API, and needs only
cbor2 and cryptography. Names are loaded on first use. The modules in this package are internal.

PYTEST_DONT_REWRITE: without this word, pytest warns when a program imports this package before it starts pytest.
"""

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from nitro_attestation.document.certificates import AWS_NITRO_ROOT_SHA256
    from nitro_attestation.document.cose import parse_unverified_document
    from nitro_attestation.document.file_format import decode_document_file
    from nitro_attestation.document.payload import AttestationDocument
    from nitro_attestation.document.report import VerifiedDocument, document_json, document_text
    from nitro_attestation.errors import (
        AttestationError,
        DocumentFileError,
        ImageError,
        MeasurementError,
        NitroAttestationError,
        PolicyError,
        VerificationStep,
    )
    from nitro_attestation.image.description import measure_image_file
    from nitro_attestation.key_policy.conditions.condition import Condition, ConditionResult
    from nitro_attestation.key_policy.conditions.keys import ATTESTED_KEY_OPERATIONS, ATTESTED_OPERATIONS
    from nitro_attestation.key_policy.context import (
        attestation_context,
        caller_context,
        encryption_context_keys,
        parse_caller,
    )
    from nitro_attestation.key_policy.evaluation import (
        AccessRequest,
        Decision,
        StatementResult,
        Verdict,
        evaluate_policy,
    )
    from nitro_attestation.key_policy.explanation import (
        ConditionExplanation,
        Explanation,
        OperationExplanation,
        Outcome,
        StatementExplanation,
        explain_policy,
    )
    from nitro_attestation.key_policy.findings import Finding, FindingKind
    from nitro_attestation.key_policy.gaps import Gap, GapKind, find_gaps
    from nitro_attestation.key_policy.model import Effect, KeyPolicy, Statement, default_policy
    from nitro_attestation.key_policy.parsing import parse_policy
    from nitro_attestation.key_policy.principals import Principal, PrincipalKind, PrincipalMatch, PrincipalName
    from nitro_attestation.key_policy.report import explanation_json, explanation_text
    from nitro_attestation.key_policy.writing import attested_key_policy
    from nitro_attestation.measurements import identifying_pcrs, parse_measurements, verify_measurements
    from nitro_attestation.verification import DEFAULT_LEEWAY, verify_document

__all__ = [
    "ATTESTED_KEY_OPERATIONS",
    "ATTESTED_OPERATIONS",
    "AWS_NITRO_ROOT_SHA256",
    "DEFAULT_LEEWAY",
    "AccessRequest",
    "AttestationDocument",
    "AttestationError",
    "Condition",
    "ConditionExplanation",
    "ConditionResult",
    "Decision",
    "DocumentFileError",
    "Effect",
    "Explanation",
    "Finding",
    "FindingKind",
    "Gap",
    "GapKind",
    "ImageError",
    "KeyPolicy",
    "MeasurementError",
    "NitroAttestationError",
    "OperationExplanation",
    "Outcome",
    "PolicyError",
    "Principal",
    "PrincipalKind",
    "PrincipalMatch",
    "PrincipalName",
    "Statement",
    "StatementExplanation",
    "StatementResult",
    "Verdict",
    "VerificationStep",
    "VerifiedDocument",
    "attestation_context",
    "attested_key_policy",
    "caller_context",
    "decode_document_file",
    "default_policy",
    "document_json",
    "document_text",
    "encryption_context_keys",
    "evaluate_policy",
    "explain_policy",
    "explanation_json",
    "explanation_text",
    "find_gaps",
    "identifying_pcrs",
    "measure_image_file",
    "parse_caller",
    "parse_measurements",
    "parse_policy",
    "parse_unverified_document",
    "verify_document",
    "verify_measurements",
]

if not TYPE_CHECKING:  # otherwise type checkers would accept any attribute name
    _HOMES = {
        "document.certificates": ("AWS_NITRO_ROOT_SHA256",),
        "document.cose": ("parse_unverified_document",),
        "document.file_format": ("decode_document_file",),
        "document.payload": ("AttestationDocument",),
        "document.report": ("VerifiedDocument", "document_json", "document_text"),
        "errors": (
            "AttestationError",
            "DocumentFileError",
            "ImageError",
            "MeasurementError",
            "NitroAttestationError",
            "PolicyError",
            "VerificationStep",
        ),
        "image.description": ("measure_image_file",),
        "key_policy.conditions.condition": ("Condition", "ConditionResult"),
        "key_policy.conditions.keys": ("ATTESTED_KEY_OPERATIONS", "ATTESTED_OPERATIONS"),
        "key_policy.context": (
            "attestation_context",
            "caller_context",
            "encryption_context_keys",
            "parse_caller",
        ),
        "key_policy.evaluation": (
            "AccessRequest",
            "Decision",
            "StatementResult",
            "Verdict",
            "evaluate_policy",
        ),
        "key_policy.explanation": (
            "ConditionExplanation",
            "Explanation",
            "OperationExplanation",
            "Outcome",
            "StatementExplanation",
            "explain_policy",
        ),
        "key_policy.findings": ("Finding", "FindingKind"),
        "key_policy.gaps": ("Gap", "GapKind", "find_gaps"),
        "key_policy.model": ("Effect", "KeyPolicy", "Statement", "default_policy"),
        "key_policy.parsing": ("parse_policy",),
        "key_policy.principals": ("Principal", "PrincipalKind", "PrincipalMatch", "PrincipalName"),
        "key_policy.report": ("explanation_json", "explanation_text"),
        "key_policy.writing": ("attested_key_policy",),
        "measurements": ("identifying_pcrs", "parse_measurements", "verify_measurements"),
        "verification": ("DEFAULT_LEEWAY", "verify_document"),
    }
    _MODULES = {name: module for module, names in _HOMES.items() for name in names}

    def __getattr__(name: str) -> object:
        if name not in _MODULES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        return getattr(importlib.import_module(f"{__name__}.{_MODULES[name]}"), name)

    def __dir__() -> list[str]:
        return sorted({*globals(), *__all__})
