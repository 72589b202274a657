"""Compare the package's verdicts on generated policies with the oracle's.

It compares three things for each policy:

1. Random, fully known requests: both must return the same verdict.
2. The enclave's own request, with some unknown keys. For every verdict that the package reports as possible, it gives
   an example request, for which the oracle must return that verdict. For random values of the unknown keys, the oracle
   must return no other verdict.
3. Requests of others. For every way around the attestation, the package gives an example request, which the oracle must
   allow. If the package finds no way, the oracle must deny all random requests.

``python -m tests.support.key_policies.comparison POLICIES`` prints the figures.
"""

from __future__ import annotations

import json
import random
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from nitro_attestation.key_policy.context import parse_caller, requester_of
from nitro_attestation.key_policy.evaluation import AccessRequest, Verdict, evaluate_policy
from nitro_attestation.key_policy.model import KeyPolicy
from nitro_attestation.key_policy.parsing import parse_policy
from nitro_attestation.key_policy.principals import Principal, PrincipalKind, PrincipalName
from nitro_attestation.key_policy.symbolic.decisions import PolicySearch
from nitro_attestation.key_policy.symbolic.others import DocumentKind, accounts_of, other_documents, requesters_named
from nitro_attestation.key_policy.symbolic.requests import RequestModel, pcr_domains
from nitro_attestation.key_policy.symbolic.ways import WaySearch
from tests.support.key_policies.generator import ADMIN_ARN, KEY_ARN, PCRS, SESSION_ARN, USER_ARN, Generator
from tests.support.key_policies.iam_oracle import ALLOW, DENY, NOTHING, OracleRequest, verdicts
from tests.support.key_policies.witnesses import depends_on_more_than_keys, oracle_request, sampled_values

_VERDICTS = {Verdict.ALLOW: ALLOW, Verdict.EXPLICIT_DENY: DENY, Verdict.IMPLICIT_DENY: NOTHING}
_ANYBODYS = (DocumentKind.NONE, DocumentKind.NITRO_TPM, DocumentKind.ANOTHER_IMAGE, DocumentKind.DEBUG_MODE)
SAMPLES = 2
ENCLAVE = requester_of(parse_caller(SESSION_ARN))


@dataclass
class Comparison:
    """The number of comparisons by subject, and the disagreements."""

    counts: Counter[str] = field(default_factory=Counter)
    disagreements: list[str] = field(default_factory=list)

    def note(self, what: str, policy: dict[str, Any], *, agrees: bool, details: object = "") -> None:
        self.counts[what] += 1
        if not agrees:
            self.disagreements.append(f"{what}: {json.dumps(policy)}\n{details}")

    def __str__(self) -> str:
        asked = ", ".join(f"{number} {what}" for what, number in sorted(self.counts.items()))
        return f"{asked}; {len(self.disagreements)} disagreements"


def compare(seed: int, policies: int) -> Comparison:
    """Compare both on policies from a generator."""
    generator, comparison = Generator(seed), Comparison()
    for _ in range(policies):
        document = generator.policy()
        policy = parse_policy(json.dumps(document))
        comparison.counts["policies"] += 1
        _compare_known_request(comparison, document, policy, generator.request())
        _compare_own_request(comparison, document, policy, generator.random)
        _compare_others(comparison, document, policy, generator.random)
    return comparison


def _compare_known_request(
    comparison: Comparison, document: dict[str, Any], policy: KeyPolicy, request: OracleRequest
) -> None:
    role = request.identity if ":role/" in request.identity else None
    principal = Principal(request.session or request.identity, request.account, role)
    context = {key: tuple(values) for key, values in request.context.items()}
    decision = evaluate_policy(policy, AccessRequest(principal, request.action, request.key_arn, context))
    wanted, got = verdicts(document, request), _VERDICTS[decision.verdict]
    lets_in_what_is_open = got == ALLOW and len(wanted) > 1
    details = (request, wanted, got)
    comparison.note("known requests", document, agrees=got in wanted and not lets_in_what_is_open, details=details)


def _compare_own_request(
    comparison: Comparison, document: dict[str, Any], policy: KeyPolicy, source: random.Random
) -> None:
    model = RequestModel("kms:Decrypt", ENCLAVE, pcr_domains(PCRS), key_arn=KEY_ARN, is_own=True)
    possible = PolicySearch(policy, model).possibilities()
    witnesses = {ALLOW: possible.allowed, DENY: possible.denied, NOTHING: possible.unanswered}
    for verdict, witness in witnesses.items():
        if witness is not None and possible.is_certain and not depends_on_more_than_keys(witness):
            got = verdicts(document, oracle_request(policy, model, witness))
            comparison.note("possible verdicts", document, agrees=verdict in got, details=(verdict, witness, got))
    expected = {verdict for verdict, witness in witnesses.items() if witness is not None}
    for _ in range(SAMPLES):
        values = sampled_values(policy, model, source)
        got = verdicts(document, oracle_request(policy, model, values))
        comparison.note("own requests", document, agrees=got <= expected, details=(values, got, expected))


def _compare_others(comparison: Comparison, document: dict[str, Any], policy: KeyPolicy, source: random.Random) -> None:
    search = WaySearch(policy, operations=["Decrypt"], pcrs=PCRS, key_arn=KEY_ARN)
    found: set[DocumentKind] = set()
    for way in (way for statement in search.allows for way in search.ways(statement)):
        found |= {way.document} if way.action == "kms:Decrypt" else set()
        if way.witness is not None and not depends_on_more_than_keys(way.witness):
            got = verdicts(document, oracle_request(policy, way.request, way.witness))
            comparison.note("ways", document, agrees=ALLOW in got, details=(way, got))
    if any(kind in _ANYBODYS for kind in found):
        return
    for model, kind in _attacks(policy, search, source):
        values = sampled_values(policy, model, source)
        got = verdicts(document, oracle_request(policy, model, values))
        agrees = ALLOW not in got or kind in found
        comparison.note("requests of others", document, agrees=agrees, details=(kind, model.requester, values, got))


def _attacks(
    policy: KeyPolicy, search: WaySearch, source: random.Random
) -> Iterator[tuple[RequestModel, DocumentKind]]:
    """Yield requests of others, one for each document that they can present."""
    everybody = PrincipalName("*", PrincipalKind.ANYONE)
    requesters = [requester_of(parse_caller(arn)) for arn in (SESSION_ARN, SESSION_ARN, ADMIN_ARN, USER_ARN)]
    requesters += requesters_named(everybody, accounts_of(policy))
    for document in other_documents(search.named, PCRS):
        model = RequestModel("kms:Decrypt", source.choice(requesters), document.pcrs, document.tpm_pcrs, KEY_ARN)
        yield model, document.kind


def main() -> int:
    """Compare on the number of policies from the command line, and print the results."""
    policies = int(sys.argv[1]) if len(sys.argv) > 1 else 20_000
    comparison = compare(0, policies)
    print(comparison)
    for disagreement in comparison.disagreements[:3]:
        print(disagreement)
    return 1 if comparison.disagreements else 0


if __name__ == "__main__":
    sys.exit(main())
