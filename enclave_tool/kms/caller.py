"""Calls to KMS with one set of credentials; translates botocore's exceptions into this project's errors."""

from __future__ import annotations

import logging
from typing import Any

import botocore.credentials
from botocore.exceptions import BotoCoreError, ClientError
from botocore.parsers import ResponseParserError

from enclave_tool.errors import RecipientError
from enclave_tool.kms.failures import kms_failure
from enclave_tool.kms.options import KmsOptions
from enclave_tool.kms.regional import Attempts, RegionalKms
from enclave_tool.kms.tls import with_name_of_peer
from vsock_wire.errors import quoted
from vsock_wire.protocol.kms_operations import KmsRequest
from vsock_wire.protocol.messages import Credentials

_logger = logging.getLogger(__name__)

MAX_KEY_ID_CHARS = 2_048
"""KMS API, KeyId."""


class KmsCaller:
    """Calls KMS with one set of credentials. Threads can share it."""

    def __init__(self, kms: RegionalKms, options: KmsOptions, credentials: Credentials) -> None:
        self._kms = kms
        self._options = options
        self._credentials = botocore.credentials.Credentials(
            credentials.access_key_id, credentials.secret_access_key, credentials.session_token
        )
        self._secrets = tuple(filter(None, (credentials.secret_access_key, credentials.session_token)))

    def call_kms(self, request: KmsRequest, attempts: Attempts) -> dict[str, Any]:
        """Return KMS's response, with the plaintext in the field where boto3 has it.

        Args:
            request: the request.
            attempts: counts the requests that are sent to KMS, and limits their time.

        Raises:
            KmsError: KMS refused.
            ProxyUnreachableError: the proxy on the parent could not be reached.
            KmsUnreachableError: KMS could not be reached through the proxy, or stopped answering.
            TlsError: the peer could not prove that it is KMS.
            NsmError: the module did not give an attestation document.
            RecipientError: KMS's response has no CiphertextForRecipient, or is about another key than the request's.
            CmsError: its CiphertextForRecipient could not be opened.
        """
        try:
            answer = self._kms.call_kms(str(request.operation), dict(request.parameters), self._credentials, attempts)
        except (BotoCoreError, ClientError) as error:
            failure = kms_failure(error, self._options.proxy_address, self._secrets)
            raise with_name_of_peer(failure, self._options) from None
        except (ResponseParserError, AttributeError, TypeError, ValueError) as error:
            # What botocore's parser raises if a response is not a JSON object. The text may quote the response.
            _logger.warning("KMS %s: botocore failed with %s", request.operation, type(error).__name__)
            raise RecipientError(
                f"KMS {request.operation}: the response is not a JSON object that botocore can read",
                hint="the endpoint behind the proxy is not the real KMS",
            ) from None
        _check_key(request, answer)
        return answer


def _check_key(request: KmsRequest, answer: dict[str, Any]) -> None:
    """Check that a response is about the key that the request names; only KMS knows which key an alias names.

    KMS enforces this itself. A difference means that something between KMS and this code is broken.

    Raises:
        RecipientError: the request names a key by ID or ARN, and the response is about another key.
    """
    wanted, used = request.parameters.get("KeyId"), str(answer.get("KeyId"))
    if wanted is None or "alias/" in wanted:
        return
    if used != wanted and not used.endswith(f":key/{wanted}"):
        raise RecipientError(
            f"KMS {request.operation}: KeyId: expected {quoted(wanted, MAX_KEY_ID_CHARS)} in the response,"
            f" got {quoted(used, MAX_KEY_ID_CHARS)}"
        )
