"""How much of the answers is left in each precision: trtconv's and PyTorch's own, both against float64.

    python benchmarks/fidelity.py                                   # the latency suite and the pretrained models
    python benchmarks/fidelity.py --models resnet18 pictures        # some of them
    python benchmarks/fidelity.py --models                          # only the tables, of what was measured
    python benchmarks/fidelity.py --device cuda                     # engines in place of the interpreter

A float32 module is converted with precision="fp16" (bf16, fp32), by the rules alone; PyTorch's own is the module and
its inputs in that dtype, .half() or .bfloat16(). Rows are kept in build/fidelity.json, so that models can be measured
one by one; the tables go to benchmarks/results/fidelity.md (of engines fidelity_engines.md), or to $OUT.
"""

from __future__ import annotations

import argparse
import copy
import json
import math
import os
import pathlib
import platform
import sys
from collections.abc import Callable, Iterator
from typing import Any

import torch
from report import table
from speed.models import MODELS, TINY, make_subject, tensors_of
from torch import Tensor, nn

import trtconv

ROOT = pathlib.Path(__file__).resolve().parent.parent
FOLDER = pathlib.Path(os.environ.get("OUT", ROOT / "benchmarks" / "results"))
PRECISIONS = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}
DRAWS = 2
"""Inputs of each model of the latency suite."""
CROPS = 24
"""Pictures made of each photograph."""
BAR, LEAST_COSINE = 2.0, 0.9999

Row = dict[str, Any]


# -- errors ---------------------------------------------------------------------------------------


class Errors:
    """Largest and root mean square error against float64, relative to the largest and root mean square number."""

    def __init__(self) -> None:
        self.largest = self.square = self.magnitude = self.energy = 0.0

    def add(self, result: Any, exact: Any) -> None:
        for y, x in zip(tensors_of(result), tensors_of(exact), strict=True):
            error = (y.double() - x).abs()
            error = torch.where(error.isfinite(), error, math.inf)
            self.largest, self.square = max(self.largest, float(error.max())), self.square + float(error.square().sum())
            self.magnitude = max(self.magnitude, float(x.abs().max()))
            self.energy += float(x.square().sum())

    @property
    def of_all(self) -> float:
        return math.sqrt(self.square / self.energy)

    @property
    def of_largest(self) -> float:
        return self.largest / self.magnitude


def measure(name: str, module: nn.Module, calls: list[tuple[Any, ...]], device: torch.device) -> Iterator[Row]:
    """A row for each precision."""
    exact = _run(_in(module, torch.float64), calls, torch.float64)
    for precision, dtype in PRECISIONS.items():
        converted = trtconv.convert(module, calls[0], precision=precision, tf32=False, cache=False)
        assert (converted.backend(device) == "tensorrt") is (device.type == "cuda")
        result = _run(converted, calls)
        own = _run(_in(module, dtype), calls, dtype)
        errors, torchs = Errors(), Errors()
        for ours, theirs, known in zip(result, own, exact, strict=True):
            errors.add(ours, known)
            torchs.add(theirs, known)
        row = {"model": name, "precision": precision, "calls": len(calls)}
        row |= {"error": errors.of_all, "torch": torchs.of_all}
        row |= {"largest": errors.of_largest, "torch_largest": torchs.of_largest}
        yield row | _answers(name, result, own, exact)


def _in(module: nn.Module, dtype: torch.dtype) -> nn.Module:
    return copy.deepcopy(module).to(dtype)


@torch.no_grad()
def _run(module: Callable[..., Any], calls: list[tuple[Any, ...]], dtype: torch.dtype | None = None) -> list[Any]:
    def cast(x: Any) -> Any:
        return x.to(dtype) if dtype is not None and x.is_floating_point() else x

    return [module(*map(cast, call)) for call in calls]


def _answers(name: str, ours: list[Any], own: list[Any], exact: list[Any]) -> Row:
    """What the pretrained models are for: classes that agree, and cosines of embeddings; the least, in percent."""
    if name == "pictures":
        return {
            key: 100 * _agreement(results, exact) for key, results in (("agreement", ours), ("torch_agreement", own))
        }
    if name == "sentences":
        return {key: _cosine(results, exact) for key, results in (("cosine", ours), ("torch_cosine", own))}
    return {}


def _agreement(results: list[Tensor], exact: list[Tensor]) -> float:
    pairs = zip(torch.cat(results).argmax(1), torch.cat(exact).argmax(1), strict=True)
    return sum(float(a == b) for a, b in pairs) / len(torch.cat(exact))


def _cosine(results: list[Tensor], exact: list[Tensor]) -> float:
    return min(
        float(nn.functional.cosine_similarity(y.double(), x, dim=1).min()) for y, x in zip(results, exact, strict=True)
    )


# -- models ---------------------------------------------------------------------------------------


def of_suite(name: str, device: torch.device) -> tuple[nn.Module, list[tuple[Any, ...]]]:
    subject = make_subject(name, "fp32", 1, device)
    return subject.module, [(x,) for x in subject.draws[:DRAWS]]


def of_pictures(device: torch.device) -> tuple[nn.Module, list[tuple[Any, ...]]]:
    """EfficientNet-Lite0 with its weights, on scikit-learn's photographs and crops of them."""
    sys.path.append(str(ROOT / "examples"))
    from classify_photo import load_model, load_pictures, preprocess

    generator, crops = torch.Generator().manual_seed(0), []
    for picture in load_pictures([]).values():
        crops.append(preprocess(picture))
        while len(crops) % CROPS:
            part = 0.3 + 0.6 * float(torch.rand((), generator=generator))
            width, height = int(part * picture.width), int(part * picture.height)
            left, top = (
                int(float(torch.rand((), generator=generator)) * room)
                for room in (picture.width - width, picture.height - height)
            )
            crops.append(preprocess(picture.crop((left, top, left + width, top + height))))
    return load_model().to(device), [(torch.cat(crops[i : i + 8]).to(device),) for i in range(0, len(crops), 8)]


def of_sentences(device: torch.device) -> tuple[nn.Module, list[tuple[Any, ...]]]:
    """MiniLM with its weights, on sentences of several lengths."""
    sys.path.append(str(ROOT / "examples"))
    from sentence_similarity import SENTENCES, SentenceEncoder, tokenize

    more = [f"{first} {second}" for first in SENTENCES for second in SENTENCES if first != second]
    tokens = tokenize([*SENTENCES, *more])
    ids, mask = (tokens[name].to(device) for name in ("input_ids", "attention_mask"))
    return SentenceEncoder().to(device), [(ids[i : i + 5], mask[i : i + 5]) for i in range(0, len(ids), 5)]


PRETRAINED = {"pictures": of_pictures, "sentences": of_sentences}


# -- tables ---------------------------------------------------------------------------------------

_HEAD = """# Fidelity

What `python benchmarks/fidelity.py{flags}` found: {how}. {machine}; {versions}.

A float32 module is converted with `precision="fp32"`, `"fp16"` and `"bf16"`, without calibration. PyTorch's own is the
module and its inputs in that dtype. Both are compared with the module in float64. **Error** is the root mean square of
the differences over that of the numbers, **largest** the largest difference over the largest number; **ratio** is ours
over PyTorch's, at most {bar:g} where the bar is met. Weights of the latency suite are random, batch 1, {draws} inputs
each.

{verdict}
"""


def report(rows: list[Row], device: str, facts: Row) -> str:
    missed = [f"{row['model']} in {row['precision']}" for row in rows if _misses(row)]
    verdict = f"Bars missed: {', '.join(missed)}." if missed else "All bars are met."
    how = "engines" if device == "cuda" else "the reference interpreter runs the networks that TensorRT would build"
    flags = " --device cuda" if device == "cuda" else ""
    head = _HEAD.format(flags=flags, how=how, bar=BAR, draws=DRAWS, verdict=verdict, **facts)
    header = ("model", "precision", "error", "PyTorch's", "ratio", "largest", "PyTorch's", "ratio")
    parts = [head, table(header, map(_cells, rows))]
    for name, key, title, what in (
        (
            "pictures",
            "agreement",
            "EfficientNet-Lite0 on pictures",
            f"top-1 agreement with float64, {2 * CROPS} pictures, %",
        ),
        ("sentences", "cosine", "MiniLM on sentences", "least cosine with float64's embedding"),
    ):
        found = [row for row in rows if row["model"] == name]
        if found:
            cells = [(row["precision"], f"{row[key]:.7g}", f"{row[f'torch_{key}']:.7g}") for row in found]
            parts += [f"## {title}\n", table(("precision", what, "PyTorch's"), cells)]
    return "\n".join(parts)


def _cells(row: Row) -> tuple[str, ...]:
    numbers = (
        f"{row['error']:.2e}",
        f"{row['torch']:.2e}",
        _ratio(row, "error", "torch"),
        f"{row['largest']:.2e}",
        f"{row['torch_largest']:.2e}",
        _ratio(row, "largest", "torch_largest"),
    )
    return (row["model"], row["precision"], *numbers)


def _ratio(row: Row, ours: str, own: str) -> str:
    if math.isinf(row[own]):
        return "0" if math.isfinite(row[ours]) else "-"
    return f"{row[ours] / row[own]:.2f}" if row[own] else "-"


def _misses(row: Row) -> bool:
    if row["model"] == "pictures" and row["precision"] == "fp16" and row["agreement"] < 100:
        return True
    if row["model"] == "sentences" and row["cosine"] < LEAST_COSINE:
        return True
    pairs = ((row["error"], row["torch"]), (row["largest"], row["torch_largest"]))
    return not all(math.isfinite(ours) and ours <= BAR * own for ours, own in pairs)


def _facts(device: torch.device) -> Row:
    cores = f"{os.cpu_count()} cores ({platform.machine()}), no GPU"
    machine = torch.cuda.get_device_name(device) if device.type == "cuda" else cores
    release = trtconv.tensorrt.release()
    return {"machine": machine, "versions": f"torch {torch.__version__}, {release}, Python {platform.python_version()}"}


def main() -> None:
    known = [*MODELS, *PRETRAINED]
    parser = argparse.ArgumentParser(description="Compare precisions with float64.")
    parser.add_argument("--models", nargs="*", default=known, choices=[*known, *TINY])
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"))
    options = parser.parse_args()
    device = torch.device(options.device)
    torch.backends.cudnn.allow_tf32 = False  # or PyTorch's float32 convolutions would have fewer digits
    stem = "fidelity_engines" if options.device == "cuda" else "fidelity"
    kept = pathlib.Path(os.environ.get("OUT", ROOT / "build")) / f"{stem}.json"
    kept.parent.mkdir(exist_ok=True)
    rows: list[Row] = json.loads(kept.read_text()) if kept.exists() else []
    for name in options.models:
        module, calls = PRETRAINED[name](device) if name in PRETRAINED else of_suite(name, device)
        rows = [row for row in rows if row["model"] != name]
        for row in measure(name, module, calls, device):
            rows.append(row)
            print(" | ".join(_cells(row)), flush=True)
        rows.sort(key=lambda row: [*TINY, *known].index(row["model"]))
        kept.write_text(json.dumps(rows, indent=1))
    if rows:
        (FOLDER / f"{stem}.md").write_text(report(rows, options.device, _facts(device)))


if __name__ == "__main__":
    main()
