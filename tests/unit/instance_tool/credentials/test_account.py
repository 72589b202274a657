from __future__ import annotations

import pytest

from instance_tool.credentials.account import account_of
from nitro_simulator.identities import Identities


@pytest.mark.parametrize(
    ("access_key_id", "account"),
    [
        ("ASIAQNZGKIQY56JQ7WML", "029608264753"),  # the example of "A short note on AWS key ID"
        ("AKIAQNZGKIQY56JQ7WML", "029608264753"),
        ("AROAQNZGKIQY56JQ7WML", None),  # a role, not a key
        ("AKIAIOSFODNN7EXAMPLE", None),  # from before 2019: AWS's own example
        ("ASIAROLEEXAMPLE", None),
        ("ASIAQNZGKIQY56JQ7WMl", None),
        ("ASIAQNZGKIQY56JQ7WML\n", None),
        ("ASIAQNZGKIQY56JQ7WM1", None),
        ("ASIA777777777777QQQQ", None),  # more than 12 digits
        ("", None),
    ],
)
def test_account_is_read_from_key_ids_that_contain_it(access_key_id: str, account: str | None) -> None:
    assert account_of(access_key_id) == account


@pytest.mark.parametrize("account", ["000000000000", "111122223333", "999999999999"])
def test_account_of_the_simulators_keys_is_found(account: str) -> None:
    assert account_of(Identities(account).issue("role").access_key_id) == account
