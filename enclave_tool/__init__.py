"""The enclave's side: a server and one-shot commands around an attested boto3 KMS client.

Import ``attested_kms_client`` to use that client in an enclave application of your own.

PYTEST_DONT_REWRITE: without this word, pytest warns where a program imports this package before it starts pytest.
"""

from enclave_tool.errors import CmsError, NsmError, RecipientError
from enclave_tool.kms.client import attest_client, attested_kms_client
from enclave_tool.kms.transport import tls_context
from enclave_tool.nsm.device import open_nsm
from enclave_tool.recipient.recipient import Recipient, RecipientKey
from vsock_wire.errors import ToolError
from vsock_wire.net.address import parse_address
from vsock_wire.protocol.messages import Credentials

__all__ = [
    "CmsError",
    "Credentials",
    "NsmError",
    "Recipient",
    "RecipientError",
    "RecipientKey",
    "ToolError",
    "attest_client",
    "attested_kms_client",
    "open_nsm",
    "parse_address",
    "tls_context",
]
