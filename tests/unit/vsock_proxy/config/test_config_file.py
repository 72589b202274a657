"""Config files: what they may contain, and how errors name the line and the key."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from vsock_proxy.config.config_file import MAX_CONFIG_BYTES, load_config, parse_config
from vsock_proxy.errors import ConfigError, NotAllowedError, ProxyError
from vsock_wire.net.address import CID_ANY, TcpAddress, UnixAddress, VsockAddress


def test_aws_config_file_loads() -> None:
    config = parse_config(
        "allowlist:\n"
        "- {address: kms.us-east-1.amazonaws.com, port: 443}\n"
        "- {address: kms-fips.us-east-1.amazonaws.com, port: 443}\n",
        source="f",
    )
    assert [str(entry) for entry in config.allowlist.entries] == [
        "kms.us-east-1.amazonaws.com port 443",
        "kms-fips.us-east-1.amazonaws.com port 443",
    ]
    assert config.routes == ()


def test_routes_listen_on_ports_and_on_addresses() -> None:
    routes = parse_config(
        """
allowlist: [{address: 127.0.0.1, port: [80, 443]}]
routes:
- {listen: 8000, address: 127.0.0.1, port: 443}
- {listen: "vsock://5:8001", address: 127.0.0.1, port: 443}
- {listen: "unix:/run/p.sock", address: 127.0.0.1, port: 80}
- {listen: "tcp://127.0.0.1:9", address: 127.0.0.1, port: 80}
""",
        source="f",
        cid=3,
    ).routes
    assert [route.listen for route in routes] == [
        VsockAddress(3, 8000), VsockAddress(5, 8001), UnixAddress("/run/p.sock"), TcpAddress("127.0.0.1", 9),
    ]  # fmt: skip


def test_route_listens_on_every_cid_by_default() -> None:
    text = "allowlist: [{address: a.com, port: 1}]\nroutes: [{listen: 8000, address: a.com, port: 1}]"
    assert parse_config(text, source="f").routes[0].listen == VsockAddress(CID_ANY, 8000)


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("", "No allowlist field: f: the file is empty"),
        ("{}", "f line 1: allowlist: No allowlist field: expected a list of addresses and ports"),
        ("- a", "f line 1: the file: expected keys and values, got a list"),
        ("allowlist:", "f line 1: allowlist: No allowlist field: expected a list, got nothing"),
        ("allowlist: x", 'f line 1: allowlist: No allowlist field: expected a list, got str "x"'),
        ("allowlist: [", "Bad yaml format: f line "),
        ("allowlist: []\n---\n[", "Bad yaml format: f line "),
        ("allowlist: []\nallowlist: []", "f line 2: allowlist: this key appears twice"),
        ("allowlist:\n- 1", 'f line 2: allowlist entry: expected keys and values, got int "1"'),
        ("allowlist:\n- {port: 443}", "f line 2: address: No address field"),
        ("allowlist:\n- {address: 1, port: 443}", 'f line 2: address: No address field: expected text, got int "1"'),
        ("allowlist:\n- address: a b\n  port: 443", "f line 2: address: Could not parse domain name"),
        ("allowlist:\n- address: 10.0.0.1/8\n  port: 443", "f line 2: address: expected a network such as 10.0.0.0/8"),
        ("allowlist:\n- {address: a.com}", "f line 2: port: No port field or invalid type"),
        ("allowlist:\n- address: a.com\n  port: '443'", "f line 3: port: No port field or invalid type"),
        ("allowlist:\n- address: a.com\n  port: true", "f line 3: port: No port field or invalid type"),
        ("allowlist:\n- address: a.com\n  port: 0", 'expected a number from 1 to 65535, got "0"'),
        ("allowlist:\n- address: a.com\n  port: 65979", 'expected a number from 1 to 65535, got "65979"'),
        (
            "allowlist:\n- address: a.com\n  port: []",
            "f line 3: port: No port field or invalid type: the list of ports is empty",
        ),
        ("allowlist:\n- address: a.com\n  port:\n  - 1\n  - x", "f line 5: port: No port field or invalid type"),
        ("allowlist: []\nroutes: [{listen: 1, to: x, deny: true}]", "f line 2: route: expected "),
        ("allowlist: []\nroutes: {}", "f line 2: routes: expected a list, got keys and values"),
        (
            "allowlist: []\nroutes:\n- {address: a.com, port: 1}",
            "f line 3: listen: missing; expected a vsock port or an address",
        ),
        (
            "allowlist: []\nroutes:\n- {listen: -1, address: a.com, port: 1}",
            "f line 3: listen: expected a number from 0",
        ),
        (
            "allowlist: []\nroutes:\n- {listen: x, address: a.com, port: 1}",
            "f line 3: listen: address: expected vsock://",
        ),
        ("allowlist: []\nroutes:\n- {listen: [], address: a.com, port: 1}", "f line 3: listen: expected a vsock port"),
        ("allowlist: []\nroutes:\n- {listen: 1, address: a.com}", "f line 3: port: No port field"),
        ("allowlist: []\nroutes:\n- {listen: 1, port: 1}", "f line 3: address: No address field"),
        (
            "allowlist: []\nroutes:\n- {listen: 1, address: '127.1', port: 1}",
            "f line 3: address: Could not parse domain",
        ),
        (
            "allowlist: [{address: a.com, port: 2}]\nroutes:\n- {listen: 1, address: a.com, port: 1}",
            "f line 3: address: The given address and port are not allowed: a.com:1",
        ),
        (
            "allowlist: [{address: a.com, port: 1}]\nroutes:" + "\n- {listen: 1, address: a.com, port: 1}" * 2,
            "f line 4: listen: an earlier route already listens on vsock://any:1",
        ),
        ("allowlist: " + "[" * 5_000, "Bad yaml format"),
        ("\nallowlist: " + "[" * 50 + "]" * 50, "Bad yaml format: f line 2: nested deeper than 16"),
    ],
)
def test_error_names_line_and_key(text: str, error: str) -> None:
    with pytest.raises(ProxyError) as caught:
        parse_config(text, source="f")
    assert error in str(caught.value)


@pytest.mark.parametrize(
    ("port", "number"),
    [("0443", 443), ("+443", 443), ("0x1bb", 443), ("0o673", 443), ("!!int 443", 443), ("!!int '0x1bb'", None),
     ("7:23", None), ("4_43", None), ("0b110111011", None), ("443.0", None), ("'443'", None), ("-443", None),
     ("on", None), ("65979", None), ("9" * 5_000, None), ("!!int x", None), ("", None)],
)  # fmt: skip
def test_numbers_are_those_of_yaml_1_2(port: str, number: int | None) -> None:
    text = f"allowlist:\n- address: a.com\n  port: {port}\n"
    if number is None:
        with pytest.raises(ConfigError, match="f line 3: port: No port field or invalid type: expected a number"):
            parse_config(text, source="f")
    else:
        assert parse_config(text, source="f").allowlist.entries[0].ports == {number}


def test_words_that_only_yaml_1_1_reads_as_values_are_names() -> None:
    text = "allowlist:" + "".join(f"\n- {{address: {name}, port: 1}}" for name in ("on", "no", "Yes", "y"))
    assert [str(entry) for entry in parse_config(text, source="f").allowlist.entries] == [
        "on port 1", "no port 1", "yes port 1", "y port 1",
    ]  # fmt: skip


def test_what_aws_proxy_ignores_is_ignored_with_a_warning() -> None:
    config = parse_config(
        "allowlist:\n- {address: a.com, port: 1, comment: x}\ndenylist: []\n? [a]\n: b\n---\nallowlist: 1\n---\n",
        source="f",
    )
    assert [str(entry) for entry in config.allowlist.entries] == ["a.com port 1"]
    assert config.warnings == (
        "f: 2 YAML documents after the first are ignored, as in AWS's proxy",
        'f line 3: the file: "denylist" is ignored: not a key of this program',
        'f line 4: the file: "a list" is ignored: not a key of this program',
        'f line 2: allowlist entry: "comment" is ignored: not a key of this program',
    )


@pytest.mark.parametrize("is_strict", [False, True])
def test_route_to_the_address_of_a_name_is_read_unless_the_list_is_strict(is_strict: bool) -> None:
    text = "allowlist: [{address: a.com, port: 1}]\nroutes: [{listen: 1, address: 10.0.0.1, port: 1}]"
    if is_strict:
        with pytest.raises(NotAllowedError) as caught:
            parse_config(text, source="f", is_strict=True)
        assert caught.value.hint == "add {address: 10.0.0.1, port: 1} to allowlist in f"
    else:
        assert len(parse_config(text, source="f").routes) == 1


def test_name_in_china_without_cn_is_explained() -> None:
    text = "allowlist: []\nroutes: [{listen: 1, address: kms.cn-north-1.amazonaws.com, port: 443}]"
    with pytest.raises(NotAllowedError) as caught:
        parse_config(text, source="f")
    assert caught.value.hint is not None
    assert caught.value.hint.endswith("use kms.cn-north-1.amazonaws.com.cn")


@given(st.text())
def test_any_text_is_a_config_or_a_config_error(text: str) -> None:
    with contextlib.suppress(ConfigError):
        parse_config(text, source="f")


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=9) | st.sampled_from(["a.com", "*.a.com", "::1"]),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(["allowlist", "routes", "address", "port", "listen", "x"]), inner, max_size=4
            )
        ),
        max_leaves=12,
    )
)
def test_any_structure_is_a_config_or_a_proxy_error(structure: object) -> None:
    with contextlib.suppress(ProxyError):
        parse_config(yaml.safe_dump(structure), source="f")


def test_unreadable_files_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "f"
    with pytest.raises(ConfigError, match="Could not open the file"):
        load_config(path)
    with pytest.raises(ConfigError, match="not a regular file"):
        load_config(tmp_path)
    os.mkfifo(tmp_path / "fifo")
    with pytest.raises(ConfigError, match="not a regular file"):
        load_config(tmp_path / "fifo")
    path.write_bytes(b"\xff")
    with pytest.raises(ConfigError, match="byte 0 is not valid UTF-8"):
        load_config(path)
    path.write_bytes(b"#" * (MAX_CONFIG_BYTES + 1))
    with pytest.raises(ConfigError, match=f"the file is larger than {MAX_CONFIG_BYTES} bytes"):
        load_config(path)
