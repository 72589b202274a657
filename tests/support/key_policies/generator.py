"""Generate random key policies and requests, both sensible and faulty ones."""

from __future__ import annotations

import random
from typing import Any

from tests.support.key_policies.iam_oracle import OracleRequest

ACCOUNT, OTHER_ACCOUNT = "111122223333", "444455556666"
KEY_ARN = f"arn:aws:kms:us-east-1:{ACCOUNT}:key/12345678-1234-1234-1234-123456789012"
ROLE_ARN = f"arn:aws:iam::{ACCOUNT}:role/Enclave"
SESSION_ARN = f"arn:aws:sts::{ACCOUNT}:assumed-role/Enclave/i-0123456789abcdef0"
OTHER_SESSION_ARN = f"arn:aws:sts::{ACCOUNT}:assumed-role/Enclave/i-fedcba9876543210f"
ADMIN_ARN = f"arn:aws:iam::{ACCOUNT}:role/Admin"
USER_ARN = f"arn:aws:iam::{OTHER_ACCOUNT}:user/ann"
PCRS = {index: bytes([0xA1 + index]) * 48 for index in range(5)} | {8: b"\xd8" * 48}
OTHER_DIGEST = "5e" * 48
ZEROS = "0" * 96

NAMES = [
    *(ROLE_ARN, ROLE_ARN, SESSION_ARN, OTHER_SESSION_ARN, ADMIN_ARN, USER_ARN, ACCOUNT, "*"),
    *(f"arn:aws:iam::{ACCOUNT}:root", f"arn:aws:iam::{OTHER_ACCOUNT}:root", "AROAEXAMPLEID12345678"),
]
ACTIONS = [
    *(
        "kms:Decrypt",
        "kms:Decrypt",
        "kms:*",
        "kms:De*",
        "kms:GenerateDataKey*",
        "kms:GenerateDataKey",
        "kms:ReEncrypt*",
    ),
    *("kms:CreateGrant", "kms:Create*", "kms:PutKeyPolicy", "kms:Describe*", "*", "KMS:decrypt", "kms:?ecrypt"),
    *("kms:ScheduleKeyDeletion", "kms:Sign", "kms:DeriveSharedSecret"),
]
RESOURCES = [KEY_ARN, f"arn:aws:kms:us-east-1:{ACCOUNT}:key/other", f"arn:aws:kms:*:{ACCOUNT}:key/*", "arn:aws:s3:::x"]
ATTESTATION = "kms:RecipientAttestation:"
STRING_OPERATORS = ["StringEquals", "StringEqualsIgnoreCase", "StringLike"]
STRING_OPERATORS += [name.replace("String", "StringNot", 1) for name in STRING_OPERATORS]
ORDERS = ["Equals", "NotEquals", "LessThan", "LessThanEquals", "GreaterThan", "GreaterThanEquals"]

Values = list[str]
_KEYS: list[tuple[str, Values, Values]] = [
    # key, values in policies, values in requests
    ("aws:PrincipalType", ["AssumedRole", "User", "Assumed*"], []),
    ("aws:username", ["ann", "bob"], []),
    ("kms:CallerAccount", [ACCOUNT, OTHER_ACCOUNT, "1111*"], []),
    ("aws:PrincipalAccount", [ACCOUNT, OTHER_ACCOUNT], []),
    ("aws:SourceVpce", ["vpce-1", "vpce-2", "vpce-*"], ["vpce-1", "vpce-2", "vpce-9"]),
    ("kms:ViaService", ["s3.us-east-1.amazonaws.com", "*.amazonaws.com"], ["s3.us-east-1.amazonaws.com"]),
    ("kms:EncryptionAlgorithm", ["SYMMETRIC_DEFAULT", "RSAES_OAEP_SHA_256"], []),
    ("kms:EncryptionContext:purpose", ["test", "te?t", "${aws:PrincipalTag/team}"], ["test", "red", "text"]),
    ("aws:PrincipalTag/team", ["red", "blue", "${aws:username, 'red'}", "r*"], ["red", "blue"]),
    ("aws:PrincipalOrgID", ["o-example1234", "${aws:PrincipalTag/team}"], ["o-example1234", "o-other56789"]),
]
_MULTIVALUED = [
    ("kms:EncryptionContextKeys", ["purpose", "tenant", "*"], ["purpose", "tenant", "x"]),
    ("aws:PrincipalOrgPaths", ["o-1/*", "o-1/r-1/ou-1/"], ["o-1/r-1/ou-1/", "o-2/r-2/"]),
]


class Generator:
    """Generates policies and requests, the same ones for the same seed."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)  # noqa: S311 - to repeat what it makes is the point

    def policy(self) -> dict[str, Any]:
        """Return a policy that KMS would accept."""
        statements = [self._statement(index) for index in range(self.random.choice([1, 2, 2, 3, 3, 4, 5]))]
        version = self.random.choice(["2012-10-17"] * 9 + ["2008-10-17"])
        return {"Version": version, "Statement": statements}

    def request(self) -> OracleRequest:
        """Return a random request."""
        identity, session, account, kind = self.random.choice(
            [
                (ROLE_ARN, SESSION_ARN, ACCOUNT, "AssumedRole"),
                (ROLE_ARN, SESSION_ARN, ACCOUNT, "AssumedRole"),
                (ADMIN_ARN, ADMIN_ARN.replace(":iam:", ":sts:").replace("role", "assumed-role") + "/s", ACCOUNT,
                 "AssumedRole"),
                (USER_ARN, "", OTHER_ACCOUNT, "User"),
            ]
        )  # fmt: skip
        action = self.random.choice(
            ["kms:Decrypt"] * 5 + ["kms:GenerateDataKey", "kms:CreateGrant", "kms:PutKeyPolicy", "kms:Sign"]
        )
        context: dict[str, list[str]] = {
            "aws:PrincipalArn": [identity],
            "aws:PrincipalAccount": [account],
            "kms:CallerAccount": [account],
            "aws:PrincipalType": [kind],
            "aws:PrincipalIsAWSService": ["false"],
            "aws:SecureTransport": ["true"],
            "aws:ViaAWSService": [self.random.choice(["true", "false"])],
            "aws:CurrentTime": [self.random.choice(["2026-06-01T00:00:00Z", "2024-02-29T12:00:00.5+01:00"])],
            "aws:EpochTime": [self.random.choice(["1780272000", "1709200000"])],
        }
        if kind == "User":
            context["aws:username"] = ["ann"]
        if action in ("kms:Decrypt", "kms:GenerateDataKey"):
            context["kms:EncryptionAlgorithm"] = ["SYMMETRIC_DEFAULT"]
            context |= self.document()
        return OracleRequest(action, KEY_ARN, account, identity, session, context | self.surroundings())

    def document(self) -> dict[str, list[str]]:
        """Return the condition keys of a random attestation document, or none."""
        if self.random.random() < 0.3:
            return {}
        own = {index: value.hex() for index, value in PCRS.items()}
        shown = {index: self.random.choice([value, value, value, ZEROS, OTHER_DIGEST]) for index, value in own.items()}
        return {f"{ATTESTATION}PCR{index}": [value] for index, value in shown.items()} | {
            f"{ATTESTATION}ImageSha384": [shown[0]]
        }

    def surroundings(self) -> dict[str, list[str]]:
        """Return random condition keys for a request's network, tags and encryption context."""
        found: dict[str, list[str]] = {}
        for key, _, values in _KEYS:
            if values and self.random.random() < 0.5:
                found[key] = [self.random.choice(values)]
        for key, _, values in _MULTIVALUED:
            if self.random.random() < 0.5:
                found[key] = self.random.sample(values, self.random.randint(1, len(values)))
        for key, values in (
            ("aws:SourceIp", ["203.0.113.9", "10.1.2.3", "2001:db8::1"]),
            ("aws:MultiFactorAuthAge", ["0", "3600", "99.5"]),
            ("aws:MultiFactorAuthPresent", ["true", "false"]),
        ):
            if self.random.random() < 0.5:
                found[key] = [self.random.choice(values)]
        return found

    def _statement(self, index: int) -> dict[str, Any]:
        effect = self.random.choice(["Allow", "Allow", "Deny"])
        statement: dict[str, Any] = {"Sid": f"S{index}", "Effect": effect}
        is_not_principal = effect == "Deny" and self.random.random() < 0.12
        statement["NotPrincipal" if is_not_principal else "Principal"] = self._principal(is_not_principal)
        statement["NotAction" if self.random.random() < 0.1 else "Action"] = self._some(ACTIONS, 3)
        if self.random.random() < 0.85:
            statement["Resource"] = "*"
        else:
            statement[self.random.choice(["Resource", "NotResource"])] = self._some(RESOURCES, 2)
        conditions: dict[str, dict[str, Any]] = {}
        for _ in range(self.random.choice([0, 1, 1, 1, 2, 2, 3])):
            operator, key, values = self._condition()
            conditions.setdefault(operator, {})[key] = values
        return statement | ({"Condition": conditions} if conditions else {})

    def _principal(self, is_not_principal: bool) -> Any:
        kind = self.random.random()
        if kind < 0.3 and not is_not_principal:
            return "*"
        if kind < 0.38:
            return {"Service": "logs.amazonaws.com"}
        if kind < 0.42:
            return {"Federated": "cognito-identity.amazonaws.com", "AWS": ROLE_ARN}
        names = [name for name in NAMES if not (is_not_principal and name == "*")]
        return {"AWS": self._some(names, 4 if is_not_principal else 2)}

    def _condition(self) -> tuple[str, str, Any]:
        kind = self.random.random()
        if kind < 0.5:
            return self._attestation_condition()
        if kind < 0.6:
            values = [ROLE_ARN, ADMIN_ARN, f"arn:aws:iam::{ACCOUNT}:role/*", "arn:aws:iam::*:user/${aws:username}"]
            operators = ["ArnEquals", "ArnLike", "ArnNotEquals", "ArnNotLike", *STRING_OPERATORS]
            return self._modified(self.random.choice(operators)), "aws:PrincipalArn", self._some(values, 2)
        if kind < 0.75:
            return self._typed_condition()
        if kind < 0.83:
            key, values, _ = self.random.choice(_MULTIVALUED)
            quantifier = self.random.choice(["ForAnyValue:", "ForAllValues:", "ForAnyValue:", ""])
            return f"{quantifier}{self.random.choice(STRING_OPERATORS)}", key, self._some(values, 2)
        key, values, _ = self.random.choice(_KEYS)
        if self.random.random() < 0.1:
            return "Null", key, self.random.choice(["true", "false", True, False])
        return self._modified(self.random.choice(STRING_OPERATORS)), key, self._some(values, 2)

    def _attestation_condition(self) -> tuple[str, str, Any]:
        name = self.random.choice(
            ["ImageSha384", "PCR0", "PCR0", "PCR1", "PCR2", "PCR3", "PCR8", "PCR00", "ImageSha348"]
        )
        key = self.random.choice([ATTESTATION, ATTESTATION, ATTESTATION, ATTESTATION.upper()]) + name
        if self.random.random() < 0.1:
            return "Null", key, self.random.choice(["true", "false"])
        index = int(name[3:]) if name.startswith("PCR") else 0
        own = PCRS[index].hex()
        values = [own] * 6 + [own.upper(), OTHER_DIGEST, ZEROS, "*", f"{own[:4]}*", "?" * 96, f"{own[:-1]}?", "00*"]
        operator = self.random.choice(["StringEquals", "StringEqualsIgnoreCase", "StringNotEqualsIgnoreCase",
                                       *STRING_OPERATORS])  # fmt: skip
        return self._modified(operator), key, self._some(values, 2)

    def _typed_condition(self) -> tuple[str, str, Any]:
        order = self.random.choice(ORDERS)
        choices: list[tuple[str, str, list[Any]]] = [
            (f"Numeric{order}", "aws:MultiFactorAuthAge", ["0", "3600", 100, "99.5"]),
            (f"Date{order}", "aws:CurrentTime", ["2026-06-01T00:00:00Z", "2025-01-01", "2024-02-29T11:00:00.5Z"]),
            (f"Date{order}", "aws:EpochTime", ["2026-06-01T00:00:00Z", "1700000000", 1780272000]),
            (f"Numeric{order}", "aws:EpochTime", ["1780272000", 1700000000]),
            ("IpAddress", "aws:SourceIp", ["203.0.113.0/24", "10.0.0.0/8", "10.1.2.3", "2001:db8::/32"]),
            ("NotIpAddress", "aws:SourceIp", ["203.0.113.0/24", "10.0.0.0/8", "0.0.0.0/0"]),
            ("Bool", "aws:SecureTransport", ["true", "false", True]),
            ("Bool", "aws:ViaAWSService", ["true", "false", False]),
            ("Bool", "aws:PrincipalIsAWSService", ["true", "false"]),
            ("Bool", "aws:MultiFactorAuthPresent", ["true", "false"]),
        ]
        operator, key, values = self.random.choice(choices)
        return self._modified(operator), key, self._some(values, 2)

    def _modified(self, operator: str) -> str:
        suffix = "IfExists" if self.random.random() < 0.12 else ""
        prefix = self.random.choice(["ForAnyValue:", "ForAllValues:"]) if self.random.random() < 0.1 else ""
        return f"{prefix}{operator}{suffix}"

    def _some(self, values: list[Any], at_most: int) -> Any:
        chosen = self.random.sample(values, self.random.randint(1, min(at_most, len(values))))
        return chosen[0] if len(chosen) == 1 and self.random.random() < 0.5 else chosen
