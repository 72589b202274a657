"""A whole simulated account on this machine: IMDSv2, KMS with a key bound to one enclave, and that enclave's NSM."""

from __future__ import annotations

import contextlib
import json
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Self

import boto3
from botocore.config import Config

from instance_tool.credentials.imds import ENDPOINT_VARIABLE
from nitro_simulator.clock import Clock, utc_now
from nitro_simulator.identities import ACCOUNT_ID, DEFAULT_LIFETIME_S, INSTANCE_ID, Identities
from nitro_simulator.imds import Imds, ImdsServer
from nitro_simulator.kms.keys.key import KmsKey
from nitro_simulator.kms.regions import find_region
from nitro_simulator.kms.server import KmsServer
from nitro_simulator.kms.service import SimulatedKms
from nitro_simulator.nsm.authority import AttestationAuthority
from nitro_simulator.nsm.pcrs import measure
from nitro_simulator.nsm.server import NsmServer
from nitro_simulator.nsm.service import SimulatedNsm
from nitro_simulator.pki.tls import ServerTls, TlsAuthority
from vsock_wire.net.address import TcpAddress, UnixAddress
from vsock_wire.protocol.messages import Credentials
from vsock_wire.protocol.vocabulary import DEFAULT_REGION

if TYPE_CHECKING:
    from mypy_boto3_kms import KMSClient

ROLE = "EnclaveInstanceRole"
ADMINISTRATOR_ROLE = "KeyAdministrator"
USER = "Developer"
KEY_ALIAS = "alias/enclave-demo"
MODULE_ID = f"{INSTANCE_ID}-enc0123456789abcdef"
OTHER_MODULE_ID = f"{INSTANCE_ID}-enc0fedcba9876543"
CA_FILE = "ca.pem"
ATTESTATION_ROOT_FILE = "attestation-root.pem"
ALLOWLIST_FILE = "vsock-proxy.yaml"


@dataclass(frozen=True)
class Enclave:
    """A simulated enclave: the socket of its NSM, and its measurements."""

    nsm_address: UnixAddress
    pcr0: bytes


class SimulatedAccount:
    """All services, running from construction to ``close``, which leaves nothing on disk.

    The key's policy lets the instance's role encrypt. It allows decryption only with the attestation document of an
    enclave that has the PCR0 of ``enclave``. ``other_enclave`` has another PCR0 under the same authority.

    Args:
        directory: an empty directory for sockets and files; its path must be short enough for unix sockets. None
            creates one and removes it in ``close``.
        region: the region of KMS, of any partition of AWS.
        replica_regions: more regions of the same partition, with a KMS at the same address. The key is then a
            multi-Region key with a replica in each of them.
        credentials_lifetime_s: how long each set of the role's credentials lasts, in seconds.
        debug: whether the enclaves run in debug mode, with zeros in PCR0 to PCR2.
        clock: the time in all of AWS; if it differs from this machine's, the enclaves' own clocks are wrong.

    Attributes:
        directory: the directory with sockets and files.
        kms: the KMS itself, with its journal.
        key: the key.
        replicas: its replicas, by their region.
        imds: the metadata service itself; change ``imds.mode`` to make it fail.
        kms_server: the HTTPS server of KMS.
        imds_server: the HTTP server of IMDSv2.
        tls: the authority that issued KMS's certificate.
        enclave: the enclave that the key's policy trusts.
        other_enclave: an enclave that it does not trust.
    """

    def __init__(
        self,
        directory: Path | None = None,
        *,
        region: str = DEFAULT_REGION,
        replica_regions: Sequence[str] = (),
        credentials_lifetime_s: float = DEFAULT_LIFETIME_S,
        debug: bool = False,
        clock: Clock = utc_now,
    ) -> None:
        self._clock = clock
        self.region = region
        self._identities = Identities(ACCOUNT_ID, partition=find_region(region).partition, clock=clock)
        authority = AttestationAuthority.create(at=clock())
        self.kms = SimulatedKms(
            attestation_root_sha256=authority.root_sha256, identities=self._identities, region=region, clock=clock
        )
        for name in replica_regions:
            self.kms.add_region(name)
        self.imds = Imds(
            self._identities,
            role_name=ROLE,
            region=region,
            credentials_lifetime_s=credentials_lifetime_s,
            clock=clock,
        )
        self.tls = TlsAuthority.create()
        with contextlib.ExitStack() as stack:
            self.directory = stack.enter_context(_temporary_directory()) if directory is None else directory
            self.ca_file.write_bytes(self.tls.ca_pem)
            self.attestation_root_file.write_bytes(authority.root_pem)
            self.kms_server = stack.enter_context(KmsServer(self.kms, tls=self._kms_certificate()))
            self.imds_server = stack.enter_context(ImdsServer(self.imds))
            self.enclave = self._start_enclave(stack, authority, MODULE_ID, "nsm.sock", debug=debug)
            self.other_enclave = self._start_enclave(stack, authority, OTHER_MODULE_ID, "other-nsm.sock", debug=debug)
            self.key = self._create_key(is_multi_region=bool(replica_regions))
            self.replicas = {name: self._replicate(name) for name in replica_regions}
            self.write_allowlist(self.kms_server.port)
            self._open = stack.pop_all()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Stop every service."""
        self._open.close()

    @property
    def kms_host(self) -> str:
        """The host name under which the enclave calls KMS, and which KMS's certificate names."""
        return find_region(self.region).kms_host

    @property
    def ca_file(self) -> Path:
        """PEM file of the authority that issued KMS's certificate."""
        return self.directory / CA_FILE

    @property
    def attestation_root_file(self) -> Path:
        """PEM file of the root that attestation documents chain to, instead of AWS's."""
        return self.directory / ATTESTATION_ROOT_FILE

    @property
    def allowlist_file(self) -> Path:
        """Configuration for vsock-proxy that allows KMS's port."""
        return self.directory / ALLOWLIST_FILE

    @property
    def imds_environment(self) -> dict[str, str]:
        """Environment variables that point AWS's SDKs and kmstool-instance to this metadata service."""
        host, port = self.imds_server.address
        return {ENDPOINT_VARIABLE: f"http://{host}:{port}"}

    @property
    def kms_endpoint_url(self) -> str:
        """The URL of KMS for a program outside the enclave; its TLS certificate verifies against ``ca_file``."""
        return f"https://localhost:{self.kms_server.port}"

    @property
    def role_arn(self) -> str:
        """The ARN of the instance's role, to which ``kms.policies`` can attach an identity policy."""
        return self._identities.principal(ROLE).role_arn or ""

    def write_allowlist(self, *ports: int) -> None:
        """Write ``allowlist_file`` for ports on this machine."""
        entries = "".join(f"- {{address: 127.0.0.1, port: {port}}}\n" for port in ports)
        self.allowlist_file.write_text(f"allowlist:\n{entries}", encoding="utf-8")

    def issue_credentials(self, *, lifetime_s: float = DEFAULT_LIFETIME_S) -> Credentials:
        """Return new credentials of the instance's role, such as IMDSv2 returns."""
        return self._identities.issue(ROLE, lifetime_s=lifetime_s)

    def issue_access_key(self, user_name: str = USER) -> Credentials:
        """Return a new access key of an IAM user, without a session token; the key's policy does not name the user."""
        return self._identities.issue_access_key(user_name)

    def unattested_client(self, credentials: Credentials | None = None, *, region: str | None = None) -> KMSClient:
        """Return a plain boto3 client of this KMS, as a program outside any enclave would use; see attested_client."""
        credentials = credentials or self.issue_credentials()
        client: KMSClient = boto3.client(
            "kms",
            region_name=region or self.region,
            endpoint_url=self.kms_endpoint_url,
            verify=str(self.ca_file),
            aws_access_key_id=credentials.access_key_id,
            aws_secret_access_key=credentials.secret_access_key,
            aws_session_token=credentials.session_token,
            config=Config(retries={"mode": "standard", "total_max_attempts": 1}, proxies={}),
        )
        return client

    def attested_client(self, credentials: Credentials | None = None, *, region: str | None = None) -> KMSClient:
        """Return the library's client of this KMS, as an application inside the trusted enclave would use.

        It connects to KMS directly instead of through a vsock-proxy, which would only forward the same bytes.

        Args:
            credentials: None issues new ones of the instance's role.
            region: one of the account's; None is its first one.
        """
        from enclave_tool import KmsOptions, Recipient, attested_kms_client, open_nsm  # noqa: PLC0415 - Linux only

        nsm = self._open.enter_context(open_nsm(self.enclave.nsm_address))
        return attested_kms_client(
            Recipient(nsm),
            region=region or self.region,
            credentials=credentials or self.issue_credentials(),
            options=KmsOptions(proxy=TcpAddress(*self.kms_server.address), ca_file=self.ca_file),
        )

    def _kms_certificate(self) -> ServerTls:
        hosts = [host for name in self.kms.regions for host in find_region(name).kms_hosts]
        return self.tls.server_certificate(*hosts, "localhost", "127.0.0.1")

    def _create_key(self, *, is_multi_region: bool) -> KmsKey:
        policy = _allow_only_key_policy(self._identities, self.enclave.pcr0)
        return self.kms.create_key(policy=policy, alias=KEY_ALIAS, is_multi_region=is_multi_region)

    def _replicate(self, region: str) -> KmsKey:
        replica = self.kms.replicate_key(self.key, region)
        self.kms.regions[region].keys.create_alias(KEY_ALIAS, replica)
        return replica

    def _start_enclave(
        self,
        stack: contextlib.ExitStack,
        authority: AttestationAuthority,
        module_id: str,
        socket_name: str,
        *,
        debug: bool,
    ) -> Enclave:
        pcr0 = measure(f"enclave image of {module_id}".encode())
        address = UnixAddress(str(self.directory / socket_name))
        nsm = SimulatedNsm(authority, module_id=module_id, pcrs={0: pcr0}, debug=debug, clock=self._clock)
        stack.enter_context(NsmServer(nsm, address))
        return Enclave(address, pcr0)


@contextlib.contextmanager
def _temporary_directory() -> Iterator[Path]:
    """Yield a new directory with a path short enough for unix sockets; pytest's directories are too long."""
    with tempfile.TemporaryDirectory(prefix="kmstool-", ignore_cleanup_errors=True) as directory:
        yield Path(directory)


def _allow_only_key_policy(identities: Identities, pcr0: bytes) -> str:
    """Return a key policy that separates administration from use and allows Decrypt for one enclave image only.

    It has no Deny statement, unlike ``nitro_attestation.attested_key_policy``, which is for real keys: here KMS refuses
    a request because no statement allows it.
    """
    role_arn = identities.principal(ROLE).role_arn
    administrator_arn = identities.principal(ADMINISTRATOR_ROLE).role_arn
    statements = [
        {
            "Sid": "Administration",
            "Effect": "Allow",
            "Principal": {"AWS": administrator_arn},
            "Action": ["kms:Describe*", "kms:Get*", "kms:List*", "kms:PutKeyPolicy", "kms:EnableKey", "kms:DisableKey"],
            "Resource": "*",
        },
        {
            "Sid": "Encryption",
            "Effect": "Allow",
            "Principal": {"AWS": role_arn},
            "Action": ["kms:Encrypt", "kms:DescribeKey"],
            "Resource": "*",
        },
        {
            "Sid": "DecryptionInTheEnclave",
            "Effect": "Allow",
            "Principal": {"AWS": role_arn},
            "Action": ["kms:Decrypt", "kms:GenerateDataKey", "kms:GenerateDataKeyPair"],
            "Resource": "*",
            "Condition": {"StringEqualsIgnoreCase": {"kms:RecipientAttestation:ImageSha384": pcr0.hex()}},
        },
    ]
    return json.dumps({"Version": "2012-10-17", "Statement": statements}, indent=2)
