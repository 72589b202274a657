"""A second, independent implementation of IAM's published evaluation logic for resource-based policies.

It works on the JSON of a policy and on fully known requests, and shares no code with ``nitro_attestation``; the tests
compare the two. Each function quotes the documentation that it implements.

Source: IAM user guide, "Policy evaluation logic", "Condition operators", "Multivalued context keys", "Variables and
tags", "Principal" and "NotPrincipal"; KMS developer guide, "Key policies in AWS KMS".
"""

from __future__ import annotations

import base64
import datetime as dt
import functools
import ipaddress
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

Outcomes = frozenset[bool]
"""The possible results of a part of a policy: both if AWS does not specify the result."""
YES, NO, OPEN = frozenset({True}), frozenset({False}), frozenset({True, False})
ALLOW, DENY, NOTHING = "Allow", "Deny", "Nothing"


@dataclass(frozen=True)
class OracleRequest:
    """A fully known request.

    Attributes:
        action: such as kms:Decrypt.
        key_arn: the resource.
        account: of the caller, or empty for an AWS service and for anyone who signed in with an identity provider.
        identity: ARN of the role or user, or the name of a service or an identity provider.
        session: ARN of the role's session, or empty.
        context: values of condition keys.
    """

    action: str
    key_arn: str
    account: str
    identity: str
    session: str = ""
    context: Mapping[str, Sequence[str]] = field(default_factory=dict)


def verdicts(policy: dict[str, Any], request: OracleRequest) -> set[str]:
    """Return the possible decisions of a policy; several if AWS's documentation does not specify one.

    "By default, all requests are implicitly denied. An explicit allow overrides this default. An explicit deny in any
    policy overrides any allows."
    """
    version = policy.get("Version", "2008-10-17")
    statements = policy["Statement"] if isinstance(policy["Statement"], list) else [policy["Statement"]]
    found = {ALLOW: NO, DENY: NO}
    for statement in statements:
        applies = statement_applies(statement, request, has_variables=version == "2012-10-17")
        found[statement["Effect"]] = any_of([found[statement["Effect"]], applies])
    results = set()
    for is_denied in found[DENY]:
        results |= {DENY} if is_denied else {ALLOW if is_allowed else NOTHING for is_allowed in found[ALLOW]}
    return results


def statement_applies(statement: dict[str, Any], request: OracleRequest, *, has_variables: bool) -> Outcomes:
    parts = [
        principal_applies(statement, request),
        listed(statement, "Action", lambda pattern: like(pattern.lower(), request.action.lower())),
        resource_applies(statement, request, has_variables),
    ]
    for operator, block in statement.get("Condition", {}).items():
        for key, values in block.items():
            parts.append(condition_holds(operator, key, as_list(values), request.context, has_variables=has_variables))
    return all_of(parts)


def principal_applies(statement: dict[str, Any], request: OracleRequest) -> Outcomes:
    if "Principal" in statement:
        return answer(any(names(each, request) for each in principals(statement["Principal"])))
    found = list(principals(statement["NotPrincipal"]))
    if ("AWS", "*") in found:
        return NO
    if not request.account:
        return answer(request.identity not in [name for _, name in found])
    # "If an assumed-role user is being evaluated, AWS might validate the account first, then the role, and then the
    # assumed-role user": a caller is certainly excluded only if each of these steps excludes it
    steps = [
        any(account_of(name) == request.account for kind, name in found if kind == "AWS"),
        ("AWS", request.identity) in found,
    ]
    if request.session:
        steps.append(("AWS", request.session) in found)
    return NO if all(steps) else YES if not any(steps) else OPEN


def principals(value: Any) -> Iterable[tuple[str, str]]:
    if value == "*":
        return [("AWS", "*")]
    return [(kind, name) for kind, texts in value.items() for name in as_list(texts)]


def names(principal: tuple[str, str], request: OracleRequest) -> bool:
    kind, name = principal
    if kind == "AWS" and name == "*":
        return True
    if kind in ("Service", "Federated"):
        return not request.account and name == request.identity
    if kind != "AWS" or not request.account:
        return False
    return name in (request.identity, request.session) or account_of(name) == request.account


def account_of(name: str) -> str:
    """Return the account of an account principal: its number, or the ARN that ends in root."""
    if name.isdecimal():
        return name
    return name.split(":")[4] if name.startswith("arn:") and name.endswith(":root") else "-"


def resource_applies(statement: dict[str, Any], request: OracleRequest, has_variables: bool) -> Outcomes:
    for element, operator in (("Resource", "StringLike"), ("NotResource", "StringNotLike")):
        if element in statement:
            texts = as_list(statement[element])
            if "*" in texts:
                return answer(element == "Resource")
            context = {**request.context, "the resource": [request.key_arn]}
            return condition_holds(operator, "the resource", texts, context, has_variables=has_variables)
    raise AssertionError("a statement has Resource or NotResource")


def listed(statement: dict[str, Any], element: str, matches: Callable[[str], bool]) -> Outcomes:
    if element in statement:
        return answer(any(map(matches, as_list(statement[element]))))
    return answer(not any(map(matches, as_list(statement[f"Not{element}"]))))


def condition_holds(
    operator: str, key: str, wanted: list[str], context: Mapping[str, Sequence[str]], *, has_variables: bool
) -> Outcomes:
    found = [values for name, values in context.items() if name.lower() == key.lower()]
    values = list(found[0]) if found else []
    if operator == "Null":
        return answer(any((each.lower() == "true") == (not values) for each in wanted))
    prefix, _, rest = operator.rpartition(":")
    name = rest.removesuffix("IfExists")
    is_negated = "Not" in name
    resolved = wanted
    if has_variables and name.startswith(("String", "Arn", "Bool")):
        resolved = [text for text in (resolve(each, context) for each in wanted) if text is not None]
    if is_negated and len(resolved) < len(wanted):
        return OPEN  # "If AWS cannot resolve a variable, this might cause the entire statement to be invalid"
    if prefix and values == [""]:
        values = []  # "or if the context key value resolves to a null dataset, such as an empty string"
    if not values:
        if rest.endswith("IfExists") or prefix == "ForAllValues":
            return YES
        return answer(is_negated and prefix != "ForAnyValue")
    if not prefix and len(values) > 1:
        return OPEN  # "Multivalued context keys require a condition set operator"
    passes = [any(compare(name, each, value) for each in resolved) != is_negated for value in values]
    return answer(all(passes) if prefix == "ForAllValues" else any(passes))


ESCAPES = {"*": "\x01", "?": "\x02", "$": "$"}


def resolve(text: str, context: Mapping[str, Sequence[str]]) -> str | None:
    """Replace each ``${key}`` with its value, which matches only itself, whatever characters it contains."""
    result, rest = "", text
    while "${" in rest:
        before, _, rest = rest.partition("${")
        inner, _, rest = rest.partition("}")
        result += before
        if inner in ESCAPES:
            result += ESCAPES[inner]
            continue
        name, comma, default = inner.partition(",")
        found = [values for key, values in context.items() if key.lower() == name.strip().lower() and values]
        if not found and not comma:
            return None
        value = found[0][0] if found else default.strip().strip("'")
        result += value.replace("*", "\x01").replace("?", "\x02")
    return result + rest


def compare(name: str, wanted: str, actual: str) -> bool:
    name = name.replace("Not", "")
    if name in COMPARISONS:
        return COMPARISONS[name](wanted, actual)
    kind, number = ("Numeric", Fraction) if name.startswith("Numeric") else ("Date", seconds)
    try:
        limit, value = number(wanted), number(actual)
    except ValueError:
        return False
    order = name.removeprefix(kind)
    is_equal_enough = value == limit and order.endswith("Equals")
    return is_equal_enough or (value < limit and "Less" in order) or (value > limit and "Greater" in order)


def same_arn(wanted: str, actual: str) -> bool:
    """Say: "Each of the six colon-delimited components of the ARN is checked separately"."""
    ours, theirs = wanted.split(":", 5), actual.split(":", 5)
    return len(ours) == len(theirs) == 6 and all(like(one, other) for one, other in zip(ours, theirs, strict=True))


def address_in(wanted: str, actual: str) -> bool:
    network = ipaddress.ip_network(wanted, strict=False)
    try:
        return ipaddress.ip_address(actual) in network
    except ValueError:
        return False


def seconds(text: str) -> Fraction:
    """Return a date of ISO 8601, or seconds since 1970, as seconds since 1970."""
    if re.fullmatch(r"[0-9]{5,}(\.[0-9]+)?", text):
        return Fraction(text)
    padded = text + "0000-01-01"[len(text) :] if len(text) <= 10 else text
    moment = dt.datetime.fromisoformat(padded)
    moment = moment if moment.tzinfo else moment.replace(tzinfo=dt.UTC)
    since = moment - dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
    return Fraction(since.days * 86400 + since.seconds) + Fraction(since.microseconds, 1_000_000)


def plain(text: str) -> str:
    return text.replace("\x01", "*").replace("\x02", "?")


@functools.cache
def like(pattern: str, text: str) -> bool:
    """Match * and ? with a table that says which prefixes of the pattern match which prefixes of the text."""
    row = [True] + [False] * len(text)
    for character in pattern:
        if character == "*":
            first = row.index(True) if True in row else len(row)
            row = [place >= first for place in range(len(row))]
        else:
            wanted = plain(character)
            fits = [character == "?" or wanted == other for other in text]
            row = [False] + [before and fit for before, fit in zip(row, fits, strict=False)]
    return row[-1]


def as_list(value: Any) -> list[str]:
    items = value if isinstance(value, list) else [value]
    return [item if isinstance(item, str) else str(item).lower() for item in items]


def answer(value: bool) -> Outcomes:
    return YES if value else NO


def all_of(parts: Iterable[Outcomes]) -> Outcomes:
    parts = list(parts)
    return NO if NO in parts else OPEN if OPEN in parts else YES


def any_of(parts: Iterable[Outcomes]) -> Outcomes:
    parts = list(parts)
    return YES if YES in parts else OPEN if OPEN in parts else NO


COMPARISONS: dict[str, Callable[[str, str], bool]] = {
    "StringEquals": lambda wanted, actual: plain(wanted) == actual,
    "StringEqualsIgnoreCase": lambda wanted, actual: plain(wanted).lower() == actual.lower(),
    "StringLike": like,
    "ArnEquals": same_arn,
    "ArnLike": same_arn,
    "Bool": lambda wanted, actual: wanted.lower() == actual.lower(),
    "BinaryEquals": lambda wanted, actual: base64.b64decode(wanted) == base64.b64decode(actual),
    "IpAddress": address_in,
}
