"""benchmarks/latency.py: that it runs, says what fails, and judges as it says."""

import importlib
import itertools
import json
import math
import pathlib
import time
import types
import xml.etree.ElementTree

import pytest
import torch

BENCHMARKS = pathlib.Path(__file__).parents[1] / "benchmarks"
CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def on_the_path(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))


def part(name):
    return importlib.import_module(name)


def test_a_run_without_a_gpu(tmp_path, capsys):
    latency, results = part("latency"), part("speed.results")
    timed = ["eager", "trtconv", "trtconv_static", "trtconv_no_graph"]
    columns = ["--columns", *timed, "engine_graph", "module_threads", "roofline"]
    cut = ["--batches", "1", "--dtypes", "fp32", "--calls", "20", "--throughput-seconds", "0.01"]
    soaked = ["--soak", "20", "--soak-model", "tiny", "--soak-shapes", "3"]
    output = tmp_path / "part"
    latency.main(["--device", "cpu", "--models", "tiny", *columns, *cut, *soaked, "--output", str(output)])
    found = results.read(output.with_suffix(".json"))
    calls = {row["column"]: row for row in found.of_kind("call")}
    for column in timed:
        assert calls[column]["host_us"] > 0 and calls[column]["ms"] > 0 and calls[column]["error_share"] <= 1
        assert calls[column]["calls"] == 20
    assert "GPU" in calls["engine_graph"]["failed"] or "load" in calls["engine_graph"]["failed"]
    assert [(row["workers"], row["wrong"]) for row in found.of_kind("throughput")] == [(n, 0) for n in (1, 2, 4, 8)]
    (roofline,), (soak,) = found.of_kind("roofline"), found.of_kind("soak")
    convolution, linear = 2 * 8 * 8 * 8 * 27, 2 * 8 * 5
    assert roofline["flops"] == convolution + linear
    assert len(soak["host"]) == 20 and soak["host"][0] > 2**20
    (run,) = found.runs.values()
    assert torch.__version__ in run["versions"] and "no GPU" in run["machine"]

    merged = tmp_path / "merged"
    latency.main(["--merge", f"{output}.json", "--output", str(merged)])
    assert json.loads(merged.with_suffix(".json").read_text())["rows"] == found.rows
    text = merged.with_suffix(".md").read_text()
    assert "| tiny | fp32 | 1 |" in text and "†" in text and calls["engine_graph"]["failed"][:40] in text
    for picture in tmp_path.glob("merged_*.svg"):
        xml.etree.ElementTree.parse(picture)
    assert len(list(tmp_path.glob("merged_*.svg"))) == 3


def test_calls_take_turns_and_a_failing_one_ends_alone():
    clock = part("speed.clock")
    counts, order = {"good": 0, "bad": 0, "slow": 0}, []

    def call(name, seconds=0.0):
        counts[name] += 1
        order.append(name)
        time.sleep(seconds)
        if name == "bad" and counts["bad"] > 30:
            raise RuntimeError("no\nmore")

    calls = {"good": lambda: call("good"), "bad": lambda: call("bad"), "slow": lambda: call("slow", 2e-4)}
    samples, failed = clock.measure(calls, 40, CPU)
    assert failed == {"bad": "RuntimeError: no more"} and set(samples) == {"good", "slow"}
    for found in samples.values():
        assert len(found.issuing) == len(found.alone) == 40 and len(found.in_a_row) == clock.ROUNDS
    slow = samples["slow"].summary()
    assert slow["ms"] >= 0.2 and slow["host_us"] >= 200 and slow["alone_p99_ms"] >= slow["alone_ms"] >= 0.2
    assert len(list(itertools.groupby(order))) > clock.ROUNDS


@pytest.mark.parametrize(("share", "expected"), [(0.01, 1), (0.5, 50), (0.99, 99), (1.0, 100)])
def test_quantiles_are_values_that_were_seen(share, expected):
    assert part("speed.clock").quantile([float(value) for value in range(100, 0, -1)], share) == expected


@pytest.mark.parametrize("way", ["module_threads", "module_streams"])
@pytest.mark.parametrize("fault", ["none", "mixed up", "half written", "stale"])
def test_wrong_outputs_of_workers_are_counted(fault, way):
    throughput, models = part("speed.throughput"), part("speed.models")
    subject = models.make_subject("tiny", "fp32", 1, CPU)
    right = [subject.module(x).detach() for x in subject.draws]
    seen = itertools.count()

    def module(x):
        mine = next(index for index, draw in enumerate(subject.draws) if draw is x)
        result = right[mine].clone()
        if next(seen) >= len(right) and mine == 0:  # after the results that the others are judged by
            if fault == "mixed up":
                result = right[1]
            elif fault == "half written":
                result[:, 3:] = 0
            elif fault == "stale":
                result = torch.zeros_like(result)
        return result

    ways = types.SimpleNamespace(subject=subject, converted=(module, {}))
    rows = throughput.measure_throughput(ways, [way], seconds=0.001)
    for row in rows:
        assert row["checked"] >= 10 * row["workers"] and row["images_s"] > 0
        assert row["wrong"] == (0 if fault == "none" else row["checked"] // row["workers"])


def call_row(column, ms, host_us=10.0, model="resnet18", batch=1):
    place = {"kind": "call", "model": model, "dtype": "fp16", "batch": batch}
    alone = {"alone_ms": ms, "alone_p99_ms": ms, "alone_spread": 0.0}
    return {**place, "column": column, "ms": ms, "host_us": host_us, **alone}


def good_results():
    results, bars = part("speed.results").Results(), part("speed.bars")
    rows = []
    for model in bars.EIGHT:
        for batch in (1, 16):
            for column, ms, host in (
                ("eager_graph", 0.4, 4.0),
                ("compile_graph", 0.2, 4.0),
                ("trtconv", 0.21, 25.0),
                ("trtconv_static", 0.2, 5.0),
                ("engine_graph", 0.202, 4.0),
                ("minimal", 0.2, 20.0),
            ):
                rows.append(call_row(column, ms, host, model, batch))
    place = {"model": "resnet18", "dtype": "fp16", "batch": 1}
    for workers, rate in ((1, 1000.0), (8, 2600.0)):
        way = {"way": "module_threads", "workers": workers, "images_s": rate, "checked": 100, "wrong": 0}
        rows.append({"kind": "throughput", **place, **way})
    seconds = {"first_s": 3.0, "second_s": 0.9, "load_s": 0.2}
    rows.append({"kind": "load", **place, "model": "densenet121", **seconds})
    rows.append({"kind": "soak", **place, "calls": 2000, "shapes": 24, "host": [1, 5, 5, 5], "device": [1, 7, 7, 7]})
    results.add("run", rows)
    return results


def missed(results):
    bars = part("speed.bars").all_bars(results)
    return sum(bar.verdict == "**missed**" for bar in bars), len(bars)


def worsen(results, number, **changes):
    for row in results.rows:
        if all(row.get(name) == value for name, value in changes.items()):
            row.update(number)


@pytest.mark.parametrize(
    ("where", "change", "number"),
    [
        ({"column": "trtconv", "model": "resnet50", "batch": 1}, {"host_us": 26.5}, 1),
        ({"column": "engine_graph", "model": "resnet18"}, {"ms": 0.199}, 1),
        ({"column": "trtconv_static"}, {"host_us": 6.1}, 2),
        ({"column": "compile_graph"}, {"ms": 0.19}, 1),
        ({"column": "compile_graph", "model": "swin_t", "batch": 1}, {"ms": 0.15}, 1),
        ({"way": "module_threads", "workers": 8}, {"images_s": 2400.0}, 1),
        ({"way": "module_threads", "workers": 8}, {"wrong": 1}, 1),
        ({"kind": "load"}, {"load_s": 0.31}, 1),
        ({"kind": "load"}, {"second_s": 1.1}, 1),
        ({"kind": "soak"}, {"host": [1, 5, 5, 2**22]}, 1),
        ({"kind": "soak"}, {"device": [1, 7, 7, 8]}, 1),
    ],
    ids=str,
)
def test_each_bar_can_be_missed(where, change, number):
    results = good_results()
    assert missed(results)[0] == 0
    worsen(results, change, **where)
    assert missed(results) == (number, 14)


def test_what_was_not_measured_holds_no_bar():
    bars = part("speed.bars").all_bars(part("speed.results").Results())
    assert {bar.verdict for bar in bars} == {"not measured"} and all(math.isnan(bar.measured) for bar in bars)
    failed = good_results()
    worsen(failed, {"failed": "why"}, column="trtconv")
    assert "**missed**" not in {bar.verdict for bar in part("speed.bars").all_bars(failed)}
    failed.rows = [row for row in failed.rows if row["kind"] == "call"]
    assert "| why |" in part("speed.tables").report(failed)


def test_a_subject_measured_again_replaces_the_first():
    module = part("speed.results")
    parts = [module.Results({name: {}}) for name in ("one", "two")]
    parts[0].add("one", [call_row("eager", 1.0), call_row("trtconv", 1.0), call_row("eager", 1.0, batch=2)])
    parts[1].add("two", [call_row("eager", 2.0)])
    merged = module.merge(parts)
    assert set(merged.runs) == {"one", "two"}
    kept = [(row["run"], row["column"], row["batch"]) for row in merged.rows]
    assert sorted(kept) == [("one", "eager", 2), ("two", "eager", 1)]  # ratios stay within one run


def test_what_a_new_process_pays(tmp_path):
    loads = part("speed.loads")

    def here(function, folder, *args):
        return function(folder, *args)

    row = loads.measure_loads("tiny", "fp32", 1, "cpu", here)
    assert row["load_s"] == pytest.approx(row["load_read_s"] + row["load_state_s"] + row["load_call_s"])
    assert 0 < row["first_convert_s"] < row["first_s"] and row["second_s"] > 0 and row["state_bytes"] > 100

    def broken(function, folder, *args):
        raise OSError("the process died")

    assert loads.measure_loads("tiny", "fp32", 1, "cpu", broken)["failed"] == "first: OSError: the process died"


def test_a_leak_shows_as_growth():
    soak = part("speed.soak")
    kept = []
    host, _ = soak._sampled(lambda x: kept.append(b"x" * 2**18), [torch.ones(1)], 100, CPU)
    assert len(host) == soak.SAMPLES
    assert soak.growth(host) > part("speed.bars").HOST_NOISE
