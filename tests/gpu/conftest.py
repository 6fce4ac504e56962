"""Tables of what the GPU tests measured, printed at the end and written to the folder that OUT names.

A test reports a row with `record_property("layers", {...})` or `record_property("models", {...})`; reports
reach this process from pytest-xdist's workers too.
"""

import collections
import os
import pathlib

# TensorRT-RTX ignores the builder's flag and reads this, for attention only once: before the first engine is built.
# The interpreter's cases need it; `tf32=False` doesn't (see benchmarks/results/model_engines_h200.md).
os.environ.setdefault("NVIDIA_TF32_OVERRIDE", "0")


def pytest_terminal_summary(terminalreporter):
    tables = collections.defaultdict(list)
    for reports in terminalreporter.stats.values():
        for report in reports:
            for name, row in getattr(report, "user_properties", ()):
                if getattr(report, "when", "") == "call":
                    tables[name].append(row)
    texts = {"layers": layer_table, "models": model_table}
    for name, rows in tables.items():
        if name not in texts:
            continue
        text = "\n".join(texts[name](rows))
        terminalreporter.write_line(text)
        if os.environ.get("OUT"):
            pathlib.Path(os.environ["OUT"], f"{name}.txt").write_text(text + "\n")


def layer_table(rows):
    """For each layer type the cases, and the largest error in epsilons of the largest value."""
    kinds = collections.defaultdict(list)
    for row in rows:
        kinds[row["layer"]].append(row)
    yield f"{'layer':20} {'results':>8} {'refused':>8} {'largest error':>14}  in epsilons of the largest value, at"
    for kind, found in sorted(kinds.items()):
        run = [row for row in found if "error" in row and "differs" not in row]
        worst = max(run, key=lambda row: row["units"], default={"error": 0.0, "units": 0.0, "case": "-"})
        refused = sum("error" not in row and "differs" not in row for row in found)
        yield f"{kind:20} {len(run):8} {refused:8} {worst['error']:14.3e}  {worst['units']:.2f} {worst['case']}"
    for kind, found in sorted(kinds.items()):
        names = [row["case"] for row in found if "error" not in row and "differs" not in row]
        if names:
            yield f"refused {kind}: {', '.join(names)}"
        for row in found:
            if "differs" in row:
                yield f"differs {row['case']}: {row['differs']}"


def model_table(rows):
    """For each model the errors of engine and PyTorch against float64."""
    yield f"{'model':22} {'dtype':9} {'engine':>10} {'PyTorch':>10} {'allowed':>10} {'largest':>10}  verdict"
    for row in sorted(rows, key=lambda row: (row["dtype"], row["model"])):
        yield (
            f"{row['model']:22} {row['dtype']:9} {row['error']:10.3g} {row['torch_error']:10.3g} "
            f"{row['allowed']:10.3g} {row['largest']:10.3g}  {row['verdict']}"
        )
