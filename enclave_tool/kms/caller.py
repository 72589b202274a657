"""KMS as one set of credentials sees it: botocore's failures become errors of ours."""

from __future__ import annotations

import logging
from typing import Any

import botocore.credentials
from botocore.exceptions import BotoCoreError, ClientError
from botocore.parsers import ResponseParserError

from enclave_tool.errors import RecipientError
from enclave_tool.kms.failures import kms_failure
from enclave_tool.kms.regional import Attempts, RegionalKms
from vsock_wire.errors import quoted
from vsock_wire.net.address import Address
from vsock_wire.protocol.kms_operations import KmsRequest
from vsock_wire.protocol.messages import Credentials

_logger = logging.getLogger(__name__)

MAX_KEY_ID_CHARS = 2_048
"""KMS API, KeyId."""


class KmsCaller:
    """KMS as one set of credentials sees it. Safe to share between threads."""

    def __init__(self, kms: RegionalKms, proxy: Address, credentials: Credentials) -> None:
        self._kms = kms
        self._proxy = proxy
        self._credentials = botocore.credentials.Credentials(
            credentials.access_key_id, credentials.secret_access_key, credentials.session_token
        )
        self._secrets = tuple(filter(None, (credentials.secret_access_key, credentials.session_token)))

    def call_kms(self, request: KmsRequest, attempts: Attempts) -> dict[str, Any]:
        """Return KMS's answer, with the plaintext where boto3 has it.

        Args:
            request: what is asked.
            attempts: counts the requests that KMS gets for it, and bounds their time.

        Raises:
            KmsError: KMS refused.
            ProxyUnreachableError: the proxy on the parent could not be reached.
            KmsUnreachableError: KMS behind it could not be reached, or stopped answering.
            TlsError: what answered could not show that it is KMS.
            NsmError: no attestation document could be had.
            RecipientError: KMS answered without a CiphertextForRecipient, or not about the key that was asked for.
            CmsError: its CiphertextForRecipient could not be opened.
        """
        try:
            answer = self._kms.call_kms(str(request.operation), dict(request.parameters), self._credentials, attempts)
        except (BotoCoreError, ClientError) as error:
            raise kms_failure(error, self._proxy, self._secrets) from None
        except (ResponseParserError, AttributeError, TypeError, ValueError) as error:
            # What botocore's parser raises on an answer that is no JSON object; its text may quote the answer.
            _logger.warning("KMS %s: botocore failed with %s", request.operation, type(error).__name__)
            raise RecipientError(
                f"KMS {request.operation}: the response is not a JSON object that botocore can read",
                hint="the endpoint behind the proxy is not the real KMS",
            ) from None
        _check_key(request, answer)
        return answer


def _check_key(request: KmsRequest, answer: dict[str, Any]) -> None:
    """Refuse an answer about another key than the request named by id or ARN; what an alias stands for only KMS knows.

    KMS enforces this itself; a difference here means that something between it and this code is broken.
    """
    wanted, used = request.parameters.get("KeyId"), str(answer.get("KeyId"))
    if wanted is None or "alias/" in wanted:
        return
    if used != wanted and not used.endswith(f":key/{wanted}"):
        raise RecipientError(
            f"KMS {request.operation}: KeyId: expected {quoted(wanted, MAX_KEY_ID_CHARS)} in the response,"
            f" got {quoted(used, MAX_KEY_ID_CHARS)}"
        )
