"""What ``script/bench`` prints: one JSON object of one shape, and verdicts that follow from the ratios."""

from __future__ import annotations

import json
import sys
import types

import pytest

from bench import __main__ as command
from bench.report import Report, at_least, at_most, in_pairs, percentile
from bench.servers import CannotMeasureError

KEYS = {"name", "value", "unit", "against", "against_value", "ratio", "target", "met"}


def report() -> Report:
    made = Report("live")
    made.add("fan-out", 260, "messages/s", against="a peer", against_value=200, target=at_least(1.3))
    made.add("delay", 25, "ms", against="a peer", against_value=50, target=[at_most(20, "value"), at_most(1)])
    made.add("memory", 3, "KiB", against="a limit", target=at_most(35, "value"))
    made.add("unmeasured", 3, "KiB", against="a limit", target=at_most(1))
    return made


def test_a_report_is_one_object_with_the_documented_keys() -> None:
    said = json.loads(report().as_json())
    assert set(said) == {"bench", "machine", "figures"}
    assert all(set(figure) == KEYS for figure in said["figures"])
    assert said["machine"]["cores"] >= 1
    fan_out, delay, memory, unmeasured = said["figures"]
    assert (fan_out["ratio"], fan_out["met"], fan_out["target"]) == (1.3, True, "ratio ≥ 1.3")
    assert (delay["met"], delay["target"]) == (False, "value ≤ 20 and ratio ≤ 1")
    assert (memory["ratio"], memory["met"]) == (None, True)
    assert unmeasured["met"] is None


@pytest.mark.parametrize(("arguments", "code"), [([], 0), (["--check"], 1)])
def test_with_json_nothing_else_is_on_standard_output(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, arguments: list[str], code: int
) -> None:
    def run(quick: bool) -> Report:
        print("a library talks")
        return report()

    module = types.ModuleType("bench.live")
    module.run = run  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "bench.live", module)
    assert command.main(["live", "--quick", "--json", *arguments]) == code
    said = capsys.readouterr()
    assert json.loads(said.out)["bench"] == "live"
    assert "a library talks" in said.err
    assert command.main(["live", "--quick"]) == 0
    assert "fan-out" in capsys.readouterr().out


def test_what_cannot_be_measured_is_said_in_a_sentence(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def run(quick: bool) -> Report:
        raise CannotMeasureError("nginx is not installed.")

    module = types.ModuleType("bench.live")
    module.run = run  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "bench.live", module)
    assert command.main(["live", "--json"]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err == "nginx is not installed.\n"


def test_the_ratio_of_pairs_is_the_median_of_their_ratios() -> None:
    ours, theirs = iter([10.0, 20.0, 90.0]), iter([10.0, 10.0, 30.0])
    pairs = in_pairs(lambda: next(ours), lambda: next(theirs), 3, quiet=True)
    assert (pairs.value, pairs.against_value, pairs.ratio) == (20.0, 10.0, 2.0)


def test_percentiles_are_of_the_nearest_rank() -> None:
    assert percentile(range(1, 101), 0.99) == 99
    assert percentile([5.0], 0.99) == 5.0
    assert percentile([1.0, 2.0, 3.0], 0.5) == 2.0
