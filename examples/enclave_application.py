"""An enclave application: signs messages from the parent with a secret that never leaves the enclave.

usage: enclave_application.py LISTEN [NSM PROXY CA_FILE]   such as vsock://any:5000; without Nitro, the simulator's
"""

from __future__ import annotations

import hashlib
import hmac
import json
import sys
from base64 import b64decode
from typing import TYPE_CHECKING

from enclave_tool import Credentials, KmsOptions, Recipient, attested_kms_client, open_nsm, parse_address
from vsock_wire.net.sockets import listen_socket

if TYPE_CHECKING:
    from mypy_boto3_kms import KMSClient

MAX_REQUEST_BYTES = 65_536


def make_client(region: str, credentials: Credentials, nsm: str = "", proxy: str = "", ca_file: str = "") -> KMSClient:
    """Return a client for an enclave, or one for the simulator if its addresses are given."""
    if not nsm:
        return attested_kms_client(region=region, credentials=credentials)
    options = KmsOptions(proxy=proxy, ca_file=ca_file)
    return attested_kms_client(Recipient(open_nsm(nsm)), region=region, credentials=credentials, options=options)


def main() -> None:
    """Read one line with credentials and ciphertext, then answer each further line with its HMAC-SHA-256."""
    listen, *simulator = sys.argv[1:]
    connection, _ = listen_socket(parse_address(listen)).accept()
    with connection, connection.makefile("rwb") as lines:
        setup = json.loads(lines.readline(MAX_REQUEST_BYTES))
        credentials = Credentials(setup["AccessKeyId"], setup["SecretAccessKey"], setup["Token"])
        kms = make_client(setup["Region"], credentials, *simulator)
        secret = kms.decrypt(CiphertextBlob=b64decode(setup["Ciphertext"]), KeyId=setup["KeyId"])["Plaintext"]
        while message := lines.readline(MAX_REQUEST_BYTES):
            lines.write(hmac.new(secret, message.rstrip(b"\n"), hashlib.sha256).hexdigest().encode() + b"\n")
            lines.flush()


if __name__ == "__main__":
    main()
