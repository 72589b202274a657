"""The rows of refusals that are about access, by the kind of policy that AWS names (pure).

Source: IAM user guide, "Troubleshoot access denied error messages".
"""

from __future__ import annotations

from vsock_wire.errors import ExitCode
from vsock_wire.protocol.refusals.row import Reason, Refusal
from vsock_wire.protocol.vocabulary import Operation

ACCESS_DENIED = "AccessDeniedException"
_CODES = (ACCESS_DENIED, "AccessDenied", "NotAuthorized", "NotAuthorizedException")
_ENDPOINT = "aws ec2 describe-vpc-endpoints shows it"
_ROLE = "aws iam list-attached-role-policies and list-role-policies name them"


def _row(reason: Reason | None, hint: str, *operations: Operation) -> Refusal:
    return Refusal(_CODES, hint, reason, operations, ExitCode.REFUSED)


ACCESS_REFUSALS = (
    _row(
        None,
        "KMS does not say why: check, in this order, the key policy (this caller's role, this enclave's PCR0), the IAM"
        " policies of the role, the policy of the VPC endpoint for KMS, and the organization's policies",
    ),
    _row(
        Reason.NO_RESOURCE_POLICY_ALLOWS,
        "compare the key policy with this action, this caller's role (Principal) and this enclave's PCR0"
        " (kms:RecipientAttestation:ImageSha384; in debug mode, PCR0 to PCR2 are zeros); kmstool-instance policy"
        " explain shows what does not match",
    ),
    _row(
        Reason.NO_RESOURCE_POLICY_ALLOWS,
        "the key policy must allow kms:Encrypt to this caller's role (Principal) without a condition on"
        " kms:RecipientAttestation, because Encrypt carries no attestation document",
        Operation.ENCRYPT,
    ),
    _row(
        Reason.NO_IDENTITY_POLICY_ALLOWS,
        "the key policy leaves the decision to IAM: allow the action on this key in an IAM policy of this caller's"
        " role, or name the role in the key policy as kmstool-instance policy does",
    ),
    _row(
        Reason.NO_IDENTITY_POLICY_ALLOWS,
        "allow kms:GenerateRandom on all resources in an IAM policy of this caller's role: the operation uses no key,"
        " so no key policy can allow it",
        Operation.GENERATE_RANDOM,
    ),
    _row(
        Reason.NO_VPC_ENDPOINT_POLICY_ALLOWS,
        f"allow this request in the policy of the VPC endpoint for KMS (Principal, Action, Resource): {_ENDPOINT}",
    ),
    _row(
        Reason.NO_SERVICE_CONTROL_POLICY_ALLOWS,
        "a service control policy of the organization must allow the action in this account: ask the organization's"
        " administrator",
    ),
    _row(
        Reason.NO_RESOURCE_CONTROL_POLICY_ALLOWS,
        "a resource control policy of the organization must allow the action on the account's keys: ask the"
        " organization's administrator",
    ),
    _row(
        Reason.NO_PERMISSIONS_BOUNDARY_ALLOWS,
        "allow the action in the permissions boundary of this caller's role: aws iam get-role shows which policy that"
        " is",
    ),
    _row(
        Reason.NO_SESSION_POLICY_ALLOWS,
        "the credentials come with a session policy that does not allow the action: get credentials with a wider one,"
        " or without one",
    ),
    _row(
        Reason.DENY_IN_RESOURCE_POLICY,
        "a Deny statement of the key policy applies: compare its conditions with this caller's role and this enclave's"
        " PCRs (in debug mode, PCR0 to PCR2 are zeros); kmstool-instance policy explain shows which statement it is",
    ),
    _row(
        Reason.DENY_IN_RESOURCE_POLICY,
        "a Deny statement of the key policy applies to kms:Encrypt: one with a condition on kms:RecipientAttestation"
        " must not name this action, because Encrypt carries no attestation document",
        Operation.ENCRYPT,
    ),
    _row(
        Reason.DENY_IN_IDENTITY_POLICY,
        f"remove the Deny statement from the IAM policies of this caller's role, or narrow it: {_ROLE}",
    ),
    _row(
        Reason.DENY_IN_VPC_ENDPOINT_POLICY,
        f"remove the Deny statement from the policy of the VPC endpoint for KMS, or narrow it: {_ENDPOINT}",
    ),
    _row(
        Reason.DENY_IN_SERVICE_CONTROL_POLICY,
        "a service control policy of the organization forbids the action in this account, region or network: ask the"
        " organization's administrator",
    ),
    _row(
        Reason.DENY_IN_RESOURCE_CONTROL_POLICY,
        "a resource control policy of the organization forbids the action on this key: ask the organization's"
        " administrator",
    ),
    _row(
        Reason.DENY_IN_PERMISSIONS_BOUNDARY,
        "remove the Deny statement from the permissions boundary of this caller's role, or narrow it: aws iam get-role"
        " shows which policy that is",
    ),
    _row(
        Reason.DENY_IN_SESSION_POLICY,
        "the credentials come with a session policy that denies the action: get credentials with another one, or"
        " without one",
    ),
    _row(
        Reason.KEY_NOT_FOUND,
        "the key does not exist in the region of this request, or it belongs to another account and its policy does"
        " not allow this caller's role: check the region first (--region, or the one the enclave was started with)",
    ),
)
