"""The enclave's side: a server and one-shot commands around an attested boto3 KMS client.

Import ``attested_kms_client`` to use that client in an enclave application of your own.
"""

from enclave_tool.errors import CmsError, NsmError, RecipientError
from enclave_tool.kms import attest_client, attested_kms_client
from enclave_tool.nsm_device import open_nsm
from enclave_tool.recipient import Recipient, RecipientKey
from enclave_tool.transport import tls_context
from vsock_wire.address import parse_address
from vsock_wire.errors import ToolError
from vsock_wire.messages import Credentials

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
