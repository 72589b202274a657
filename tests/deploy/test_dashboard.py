"""The Grafana dashboard shows every metric of the proxy, and no other."""

from __future__ import annotations

import json
import re
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from vsock_proxy.daemon.metrics import ProxyCollector
from vsock_proxy.relay.outcomes import EndReason, Refusal, RouteStats

DASHBOARD: dict[str, Any] = json.loads(
    (Path(__file__).parents[2] / "deploy/grafana/vsock-proxy.json").read_text("utf-8")
)
PANELS: list[dict[str, Any]] = DASHBOARD["panels"]
EXPRESSIONS = [target["expr"] for panel in PANELS for target in panel["targets"]]


@pytest.fixture(scope="module")
def labels() -> dict[str, set[str]]:
    """The labels of each series that the proxy serves."""
    stats = RouteStats(ended=Counter({EndReason.CLOSED: 1}), refused=Counter({Refusal.DNS: 1}), limit=1)
    collector = ProxyCollector(lambda: {"r": stats}, lambda: 0, 1)
    return {sample.name: set(sample.labels) for metric in collector.collect() for sample in metric.samples}


def test_every_metric_is_shown_and_every_name_exists(labels: dict[str, set[str]]) -> None:
    queries = [
        variable["query"]["query"] for variable in DASHBOARD["templating"]["list"] if "refId" in variable["query"]
    ]
    shown = {name for text in (*EXPRESSIONS, *queries) for name in re.findall(r"vsock_proxy_\w+", text)}
    assert shown == labels.keys()


@pytest.mark.parametrize("expression", EXPRESSIONS)
def test_series_are_selected_by_labels_that_they_have(expression: str, labels: dict[str, set[str]]) -> None:
    selections = re.findall(r"(vsock_proxy_\w+)\{([^}]*)\}", expression)
    assert selections
    for name, selection in selections:
        assert set(re.findall(r"(\w+)=~?\"", selection)) <= {*labels[name], "instance"}
    for grouping in re.findall(r"by \(([^)]*)\)", expression):
        assert set(grouping.split(", ")) <= {"instance", *labels[selections[0][0]]}


def test_panels_are_distinct_and_use_the_chosen_data_source() -> None:
    assert len({panel["id"] for panel in PANELS}) == len({panel["title"] for panel in PANELS}) == len(PANELS)
    cells = [
        (x, y)
        for place in (panel["gridPos"] for panel in PANELS)
        for x in range(place["x"], place["x"] + place["w"])
        for y in range(place["y"], place["y"] + place["h"])
    ]
    assert len(cells) == len(set(cells))
    assert max(x for x, _ in cells) < 24
    assert {panel["datasource"]["uid"] for panel in PANELS} == {"${datasource}"}
