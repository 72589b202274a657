from __future__ import annotations

import contextlib

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from vsock_wire.errors import ExitCode, InputError
from vsock_wire.net.address import (
    CID_ANY,
    MAX_UNIX_PATH_BYTES,
    Address,
    TcpAddress,
    UnixAddress,
    VsockAddress,
    parse_address,
    vsock_address,
)

addresses = st.one_of(
    st.builds(VsockAddress, st.integers(0, 2**32 - 1), st.integers(0, 2**32 - 2)),
    st.builds(
        UnixAddress, st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1, max_size=26)
    ),
    st.builds(TcpAddress, st.from_regex(r"[a-z0-9.-]{1,40}", fullmatch=True), st.integers(0, 65_535)),
    st.builds(TcpAddress, st.ip_addresses().map(str), st.integers(0, 65_535)),
)


class TestParseAddress:
    @pytest.mark.parametrize(
        ("text", "address"),
        [
            ("vsock://16:3000", VsockAddress(16, 3000)),
            ("vsock://any:3000", VsockAddress(CID_ANY, 3000)),
            ("vsock://4294967295:0", VsockAddress(CID_ANY, 0)),
            ("vsock://0:4294967294", VsockAddress(0, 4_294_967_294)),
            ("unix:/run/enclave.sock", UnixAddress("/run/enclave.sock")),
            ("unix:relative:with:colons", UnixAddress("relative:with:colons")),
            ("unix://run/x", UnixAddress("//run/x")),
            ("tcp://localhost:1", TcpAddress("localhost", 1)),
            ("tcp://127.0.0.1:65535", TcpAddress("127.0.0.1", 65_535)),
            ("tcp://[::1]:443", TcpAddress("::1", 443)),
            ("tcp://[fe80::1%eth0]:443", TcpAddress("fe80::1%eth0", 443)),
        ],
    )
    def test_reads_each_form(self, text: str, address: Address) -> None:
        assert parse_address(text) == address

    @given(addresses)
    @example(VsockAddress(CID_ANY, 1))
    @example(TcpAddress("::1", 0))
    def test_str_gives_an_equal_address_back(self, address: Address) -> None:
        assert parse_address(str(address)) == address

    @pytest.mark.parametrize(
        "text",
        [
            "",
            "16:3000",
            "vsock:16:3000",
            "vsock://",
            "vsock://16",
            "vsock://16:",
            "vsock://:3000",
            "vsock://-1:3000",
            "vsock://+1:3000",
            "vsock://16:3000 ",
            "vsock://16:3000\n",
            "vsock://16:0x10",
            "vsock://1_6:3000",
            "vsock://\u0661\u0666:3000",
            "vsock://ANY:3000",
            "vsock://4294967296:1",
            "vsock://1:4294967295",
            "vsock://99999999999:1",
            "VSOCK://16:3000",
            "tcp://host",
            "tcp://host:",
            "tcp://:80",
            "tcp://host:65536",
            "tcp://host:80/path",
            "tcp://user@:80/",
            "tcp://ho st:80",
            "tcp://::1:80",
            "tcp://[::1]",
            "tcp://[]:80",
            "tcp://[::1]x:80",
            "http://host:80",
            "unix:",
            "unix:/tmp/a\0b",
            "unix:" + "x" * (MAX_UNIX_PATH_BYTES + 1),
            "unix:" + "\u00e9" * 54,
            "unix:\ud800",
            "tcp://\ud800:1",
            "tcp://a\0b:1",
            "tcp://a\x1b:1",
        ],
    )
    def test_refuses_everything_else_as_a_usage_error(self, text: str) -> None:
        with pytest.raises(InputError) as caught:
            parse_address(text)
        assert caught.value.exit_code is ExitCode.USAGE
        assert "expected" in str(caught.value)
        assert str(caught.value).isprintable()

    def test_takes_a_unix_path_as_long_as_the_kernel_does(self) -> None:
        path = "x" * MAX_UNIX_PATH_BYTES
        assert parse_address(f"unix:{path}") == UnixAddress(path)

    def test_accepts_a_file_name_that_is_not_utf_8(self) -> None:
        assert parse_address("unix:/tmp/\udcff") == UnixAddress("/tmp/\udcff")

    @given(
        st.text(max_size=30)
        | st.sampled_from(["vsock://", "tcp://", "unix:"]).flatmap(lambda s: st.text().map(lambda t: s + t))
    )
    def test_raises_nothing_but_input_errors(self, text: str) -> None:
        with contextlib.suppress(InputError):
            parse_address(text)

    def test_quotes_a_long_hostile_text_short_and_printable(self) -> None:
        with pytest.raises(InputError) as caught:
            parse_address("\x1b[31m" + "A" * 10_000)
        assert len(str(caught.value)) < 200
        assert "\x1b" not in str(caught.value)


class TestVsockAddress:
    @pytest.mark.parametrize(("cid", "port"), [(0, 0), (2**32 - 1, 2**32 - 2)])
    def test_takes_the_whole_range(self, cid: int, port: int) -> None:
        assert vsock_address(cid, port) == VsockAddress(cid, port)

    @pytest.mark.parametrize(
        ("cid", "port", "what"), [(-1, 1, "CID"), (2**32, 1, "CID"), (3, -1, "port"), (3, 2**32 - 1, "port")]
    )
    def test_refuses_numbers_out_of_range(self, cid: int, port: int, what: str) -> None:
        with pytest.raises(InputError, match=what):
            vsock_address(cid, port)

    def test_any_cid_is_shown_as_a_word(self) -> None:
        assert str(VsockAddress(CID_ANY, 3000)) == "vsock://any:3000"
