"""A row of the table of refusals, and the reasons that tell rows with the same code apart (pure)."""

from __future__ import annotations

import enum
from typing import NamedTuple

from vsock_wire.errors import ExitCode
from vsock_wire.protocol.vocabulary import Operation


class Reason(enum.StrEnum):
    """Why KMS refused a request, if its error code leaves that open: the ``Reason`` of an error reply.

    The first group is about access. AWS names one kind of policy even if several kinds do not allow the request.
    """

    NO_RESOURCE_POLICY_ALLOWS = "NoResourcePolicyAllows"
    NO_IDENTITY_POLICY_ALLOWS = "NoIdentityPolicyAllows"
    NO_VPC_ENDPOINT_POLICY_ALLOWS = "NoVpcEndpointPolicyAllows"
    NO_SERVICE_CONTROL_POLICY_ALLOWS = "NoServiceControlPolicyAllows"
    NO_RESOURCE_CONTROL_POLICY_ALLOWS = "NoResourceControlPolicyAllows"
    NO_PERMISSIONS_BOUNDARY_ALLOWS = "NoPermissionsBoundaryAllows"
    NO_SESSION_POLICY_ALLOWS = "NoSessionPolicyAllows"
    DENY_IN_RESOURCE_POLICY = "DenyInResourcePolicy"
    DENY_IN_IDENTITY_POLICY = "DenyInIdentityPolicy"
    DENY_IN_VPC_ENDPOINT_POLICY = "DenyInVpcEndpointPolicy"
    DENY_IN_SERVICE_CONTROL_POLICY = "DenyInServiceControlPolicy"
    DENY_IN_RESOURCE_CONTROL_POLICY = "DenyInResourceControlPolicy"
    DENY_IN_PERMISSIONS_BOUNDARY = "DenyInPermissionsBoundary"
    DENY_IN_SESSION_POLICY = "DenyInSessionPolicy"
    KEY_NOT_FOUND = "KeyNotFound"

    ATTESTATION_DOCUMENT = "AttestationDocument"
    PARAMETER = "Parameter"
    CLOCK = "Clock"


class Refusal(NamedTuple):
    """One row of the table.

    Attributes:
        codes: KMS's error codes; several if AWS uses several names for one error.
        hint: what the reader can do about it. The options that it names exist in every command of ``operations``.
        reason: the reason that it is for; None for any other and none.
        operations: the operations that it is for; empty for those without a row of their own.
        exit_code: exit code of a program that it ends.
    """

    codes: tuple[str, ...]
    hint: str
    reason: Reason | None = None
    operations: tuple[Operation, ...] = ()
    exit_code: ExitCode = ExitCode.FAILED
