"""docs/reference/proxy.md describes exactly the configuration, the options and the metrics of the proxy."""

from __future__ import annotations

import dataclasses
import re

import pytest

from tests.support.project.doc_blocks import ROOT, Block, read_blocks
from vsock_proxy.cli import command
from vsock_proxy.config import config_file, yaml_nodes
from vsock_proxy.config.config_file import parse_config
from vsock_proxy.daemon.metrics import ProxyCollector
from vsock_proxy.errors import ConfigError
from vsock_proxy.relay.outcomes import ConnectionReport, Ending, EndReason, Refusal, RefusalReport, RouteStats
from vsock_proxy.settings import Limits

PAGE = ROOT / "docs/reference/proxy.md"
TEXT = PAGE.read_text("utf-8")


def rows(head: str) -> dict[str, str]:
    """Return the table with this heading of the first column."""
    table = TEXT.partition(f"\n| {head} | ")[2].partition("\n\n")[0]
    return dict(re.findall(r"^\| `([^`]+)` \| (.*) \|$", table, re.MULTILINE))


@pytest.mark.parametrize("block", [block for block in read_blocks(PAGE) if block.kind == "yaml"], ids=str)
def test_configuration_can_be_read(block: Block) -> None:
    config = parse_config(block.text, source=str(block))
    assert len(config.routes) == block.text.count("listen:")


def test_every_key_is_described() -> None:
    entry = {"address": "a", "port": 1}
    route = dict.fromkeys(("listen", "address", "port", "connect", "to", "proxy_protocol")) | dict.fromkeys(
        ("max_connections", "connect_timeout", "idle_timeout")
    )
    assert list(rows("Key")) == [
        "allowlist",
        *(f"allowlist[].{key}" for key in entry),
        "routes",
        *(f"routes[].{key}" for key in route),
        "enclaves",
        *(f"enclaves[].{key}" for key in ("cid", "name", "path", "port")),
    ]
    with pytest.raises(ConfigError, match=re.escape(f"expected {' or '.join(sorted(route))}, got")):
        parse_config(f"{{allowlist: [{entry}], routes: [{{unknown: 1}}]}}", source="f")
    with pytest.raises(ConfigError, match="cid or name or path or port"):
        parse_config("{allowlist: [], enclaves: [{unknown: 1}]}", source="f")


def test_defaults_are_those_of_the_code() -> None:
    fields = [field for field in dataclasses.fields(Limits) if field.name != "descriptors"]  # which has no option
    limits = {field.name.removesuffix("_s"): field.default for field in fields}
    described = rows("Limit")
    options = {option for parameter in command.params for option in parameter.opts}
    assert described.keys() <= options
    assert [name.removeprefix("--").replace("-", "_") for name in described][1:] == list(limits)[1:]
    for name, text in list(described.items())[1:]:
        assert text.startswith(f"{limits[name.removeprefix('--').replace('-', '_')]:,.0f} seconds"), name
    assert f"{config_file.MAX_CONFIG_BYTES:,} bytes and {yaml_nodes.MAX_DEPTH} nested" in TEXT


def test_metrics_are_those_that_are_served() -> None:
    collector = ProxyCollector(lambda: {"route": RouteStats(limit=1)}, lambda: 0, 1)
    families = list(collector.collect())
    assert list(rows("Metric")) == [
        f"{family.name}_total" if family.type == "counter" else family.name for family in families
    ]


def test_log_fields_are_those_that_are_logged() -> None:
    ended = ConnectionReport("p", "r", 1, 2, 3.0, Ending(EndReason.CLOSED)).fields()
    refused = RefusalReport("p", "r", Refusal.DNS, "d").fields()
    described = rows("Field")
    assert list(described) == list(ended)
    assert {name for name, text in described.items() if "Only of a connection" in text} == ended.keys() - refused.keys()
    assert re.findall("`([^`]+)`", described["reason"]) == [*EndReason, *Refusal]


def test_options_of_the_page_exist() -> None:
    options = {option for parameter in command.params for option in parameter.opts}
    assert set(re.findall(r"`(--[a-z-]+)", TEXT)) <= options
