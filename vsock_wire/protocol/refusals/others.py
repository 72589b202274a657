"""The rows of all other refusals: keys, values, credentials, and KMS's own troubles (pure).

Source: KMS API reference, the errors of each operation and "Common Errors"; botocore's model of KMS.
"""

from __future__ import annotations

from vsock_wire.errors import ExitCode
from vsock_wire.protocol.refusals.row import Reason, Refusal
from vsock_wire.protocol.vocabulary import DRY_RUN_PASSED, EXPIRED_TOKEN, Operation

_ENCRYPTS = (Operation.DECRYPT, Operation.ENCRYPT)
_VALIDATION = ("ValidationException", "ValidationError")
_BAD_SIGNATURE = ("InvalidSignatureException", "SignatureDoesNotMatch")
_CLOCK_HINT = "the enclave's clock differs from KMS's by more than 5 minutes: set it, or restart the enclave"
_UNREADABLE = ("SerializationException", "MalformedHttpRequestException", "UnknownOperationException", "InvalidAction")
_TRY_AGAIN = "try again later; if the error stays, give AWS Support the request id"

KEY_REFUSALS = (
    Refusal(
        ("NotFoundException",),
        "KMS does not find the key: check --key-id, the account, and the region (--region, or the one the enclave was"
        " started with); a key of another account needs its ARN",
    ),
    Refusal(("DisabledException",), "the key is disabled: aws kms enable-key enables it"),
    Refusal(
        ("KMSInvalidStateException",),
        "the key's state does not allow this: aws kms describe-key shows KeyState (PendingDeletion: aws kms"
        " cancel-key-deletion; PendingImport: import its key material; Unavailable: connect its custom key store)",
    ),
    Refusal(
        ("KeyUnavailableException",),
        "KMS cannot use the key at the moment: try again; if the error stays, aws kms describe-key shows the key's"
        " state and its custom key store",
    ),
    Refusal(
        ("InvalidKeyUsageException",),
        "this operation needs a key of another kind: aws kms describe-key shows KeyUsage and KeySpec",
    ),
    Refusal(
        ("InvalidKeyUsageException",),
        "the key does not fit the request: an RSA key needs --key-id and --encryption-algorithm RSAES_OAEP_SHA_256; a"
        " symmetric key needs no --encryption-algorithm; a key for signatures or MACs cannot encrypt; aws kms"
        " describe-key shows KeyUsage and EncryptionAlgorithms",
        operations=_ENCRYPTS,
    ),
    Refusal(
        ("InvalidKeyUsageException",),
        "--key-id must name a symmetric encryption key: aws kms describe-key shows KeySpec SYMMETRIC_DEFAULT for it",
        operations=(Operation.GENERATE_DATA_KEY, Operation.GENERATE_DATA_KEY_PAIR),
    ),
    Refusal(
        ("InvalidKeyUsageException",),
        "--key-id must name a key for key agreement: aws kms describe-key shows KeyUsage KEY_AGREEMENT for it",
        operations=(Operation.DERIVE_SHARED_SECRET,),
    ),
    Refusal(
        ("IncorrectKeyException",),
        "--key-id names another key than the one that encrypted this ciphertext: omit it, or name that key",
        operations=(Operation.DECRYPT,),
    ),
    Refusal(("IncorrectKeyException",), "the ciphertext was encrypted under another key than the one that was named"),
    Refusal(
        ("InvalidCiphertextException",),
        "KMS gives no reason for this error: check that the encryption context (--encryption-context, once per pair)"
        " equals the one used to encrypt, and that the ciphertext is complete and from this account and region; a"
        " ciphertext of an RSA key needs --key-id and --encryption-algorithm RSAES_OAEP_SHA_256",
        operations=(Operation.DECRYPT,),
    ),
    Refusal(
        ("InvalidCiphertextException",),
        "KMS gives no reason for this error: check the encryption context, and that the ciphertext is complete",
    ),
    Refusal(
        ("InvalidGrantTokenException",),
        "the grant of a --grant-token does not exist, or is not for this key: pass the token that aws kms create-grant"
        " returned, or omit it: within five minutes, a grant works without its token",
    ),
    Refusal(
        ("UnsupportedOperationException",), "KMS does not support this with this key or in this region: check both"
    ),
    Refusal(
        ("UnsupportedOperationException",),
        "KMS does not support this --key-pair-spec in this region, or the key is in a custom key store, which does not"
        " support key pairs",
        operations=(Operation.GENERATE_DATA_KEY_PAIR,),
    ),
    *(
        Refusal(
            (code,),
            "this program asks for no custom key store, so something changed the request: check that the endpoint is"
            " KMS's own; aws kms describe-custom-key-stores shows the stores and their states",
        )
        for code in ("CustomKeyStoreNotFoundException", "CustomKeyStoreInvalidStateException")
    ),
    Refusal(
        (DRY_RUN_PASSED,),
        "KMS would perform the request: omit --dry-run to have it performed (with --dry-run, the exit code is 0)",
    ),
)
VALUE_REFUSALS = (
    Refusal(
        _VALIDATION,
        "KMS does not say what is not valid: check the options, and that the attestation document reaches KMS as the"
        " Nitro Security Module of this enclave made it: kmstool-instance attest verifies one",
        exit_code=ExitCode.REFUSED,
    ),
    Refusal(
        _VALIDATION,
        "KMS does not accept the attestation document: it must come from the Nitro Security Module of a running"
        " enclave, unchanged, and its certificates must be valid now: kmstool-instance attest verifies one",
        Reason.ATTESTATION_DOCUMENT,
        exit_code=ExitCode.REFUSED,
    ),
    Refusal(_VALIDATION, "correct the value that KMS names", Reason.PARAMETER),
    Refusal(
        _VALIDATION,
        "correct --key-id, --encryption-algorithm or --encryption-context: an RSA key takes no encryption context",
        Reason.PARAMETER,
        (Operation.DECRYPT,),
    ),
    Refusal(
        _VALIDATION,
        "KMS encrypts at most 4,096 bytes with a symmetric key, and 190 to 446 bytes and no --encryption-context with"
        " an RSA key: for more, generate a data key with genkey, and encrypt with its plaintext",
        Reason.PARAMETER,
        (Operation.ENCRYPT,),
    ),
    Refusal(_VALIDATION, "correct --key-id or --key-spec", Reason.PARAMETER, (Operation.GENERATE_DATA_KEY,)),
    Refusal(
        _VALIDATION,
        "correct --key-id or --key-pair-spec, such as RSA_2048 or ECC_NIST_P256",
        Reason.PARAMETER,
        (Operation.GENERATE_DATA_KEY_PAIR,),
    ),
    Refusal(
        _VALIDATION, "correct --length: KMS returns 1 to 1,024 bytes", Reason.PARAMETER, (Operation.GENERATE_RANDOM,)
    ),
    Refusal(
        _VALIDATION,
        "correct --key-id or --public-key: the peer's key must be in DER, and on the curve of the KMS key",
        Reason.PARAMETER,
        (Operation.DERIVE_SHARED_SECRET,),
    ),
    *(
        Refusal(
            (code,), "KMS cannot read the request: check that the endpoint is KMS's own; if it is, update this program"
        )
        for code in _UNREADABLE
    ),
    Refusal(
        ("RequestEntityTooLargeException",),
        "the request is larger than what answered accepts, but not larger than KMS allows: check that the endpoint is"
        " KMS's own",
    ),
)
CREDENTIAL_REFUSALS = (
    Refusal(
        (EXPIRED_TOKEN, "ExpiredToken"),
        "the credentials have expired: get new ones and try again",
        exit_code=ExitCode.REFUSED,
    ),
    Refusal(
        ("UnrecognizedClientException", "InvalidClientTokenId", "InvalidAccessKeyId"),
        "KMS does not know these credentials: check the access key and the session token, and that both belong to the"
        " region's partition (China and GovCloud have their own)",
        exit_code=ExitCode.REFUSED,
    ),
    Refusal(
        _BAD_SIGNATURE,
        "check the secret access key and the enclave's clock, which may differ from KMS's by at most 5 minutes",
        exit_code=ExitCode.REFUSED,
    ),
    Refusal(
        _BAD_SIGNATURE,
        _CLOCK_HINT,
        Reason.CLOCK,
        exit_code=ExitCode.REFUSED,
    ),
    Refusal(("RequestExpired", "RequestTimeTooSkewed", "RequestInTheFuture"), _CLOCK_HINT, exit_code=ExitCode.REFUSED),
    Refusal(
        ("IncompleteSignatureException", "IncompleteSignature"),
        "KMS cannot read the signature: check the credentials for stray characters, and that the endpoint is KMS's own",
        exit_code=ExitCode.REFUSED,
    ),
    Refusal(
        ("MissingAuthenticationTokenException", "MissingAuthenticationToken"),
        "the request arrived without a signature: check that the endpoint is KMS's own",
        exit_code=ExitCode.REFUSED,
    ),
    Refusal(
        ("OptInRequired", "SubscriptionRequiredException"),
        "this account cannot use KMS in this region: finish the account's sign-up with AWS, or enable the region (aws"
        " account enable-region)",
        exit_code=ExitCode.REFUSED,
    ),
)
SERVICE_REFUSALS = (
    Refusal(
        ("ThrottlingException", "Throttling", "RequestLimitExceeded", "TooManyRequestsException"),
        "too many KMS calls in this account and region: try again later, or raise the KMS quota",
    ),
    Refusal(("DependencyTimeoutException",), f"a system that KMS depends on did not respond in time: {_TRY_AGAIN}"),
    Refusal(
        ("KMSInternalException", "InternalFailure", "InternalServerError"),
        f"an error occurred inside KMS: {_TRY_AGAIN}",
    ),
    Refusal(("ServiceUnavailable", "ServiceUnavailableException"), f"KMS is temporarily unavailable: {_TRY_AGAIN}"),
    *(
        Refusal(
            (code,),
            "the request did not arrive completely: try again; if the error stays, check the proxy's log and the"
            " network",
        )
        for code in ("RequestTimeoutException", "RequestAbortedException")
    ),
)
