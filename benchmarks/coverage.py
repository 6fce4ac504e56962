"""Which models convert, and how right they are: whole families, through the reference interpreter.

    python benchmarks/coverage.py                           # everything; hours on two cores
    python benchmarks/coverage.py --only torchvision        # one source
    python benchmarks/coverage.py --only "timm/vision_*"    # by "source/name"
    python benchmarks/coverage.py --missing                 # only what has no result yet
    python benchmarks/coverage.py --table                   # only the table, from the results so far
    python benchmarks/coverage.py --compare EARLIER.jsonl   # and say which got better; status 1 if one got worse
    python benchmarks/coverage.py --dynamic                 # sizes that vary, at five sizes each
    python benchmarks/coverage.py --precision fp16          # in half precision, measured by PyTorch's own
    python benchmarks/coverage.py --device cuda --workers 14 --seconds 600      # engines in place of the interpreter

Each model is converted, built and compared in a process of its own. Results are kept in
build/coverage.jsonl, the table goes to benchmarks/results/coverage.md; those of engines to
coverage_engines.jsonl and coverage_engines.md, and those of --dynamic to coverage_dynamic.jsonl and
coverage_dynamic.md, with --precision coverage_fp16.jsonl and coverage_fp16.md. Engines are built with tf32=False.
"""

from __future__ import annotations

import argparse
import dataclasses
import fnmatch
import json
import math
import multiprocessing
import os
import pathlib
import platform
import sys
import time
import traceback
import zlib
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from families import SOURCES, VARYING, Draw, Example, examples, randomize, set_moments
from report import write_table

import trtconv
from trtconv.calling.structure import take_apart
from trtconv.emit import registry
from trtconv.inspect import Comparison, compare, join

ROOT = pathlib.Path(__file__).resolve().parent.parent
FOLDER = pathlib.Path(os.environ.get("OUT", ROOT / "build"))
DRAWS = 12
"""Inputs that a result is compared on, by the largest errors of each side; fewer if it is correct on the first."""
MOMENTS = 8
"""Images whose moments batch norms get."""
LEAST_EFFECT = 100
"""By so many times the allowed error some output has to differ between two inputs, or agreement says nothing."""


VERDICTS = ("no result", "wrong", "crashed", "refused", "excluded", "correct")
"""The worst first; a model that has a result may come to have none, but none has "no result" as its status."""


@dataclasses.dataclass(frozen=True)
class Result:
    """A row of the table.

    Attributes:
        status: "correct", "wrong" (numbers, shapes or dtypes, or a result that hardly depends on the inputs),
            "refused" (an error of the library's), "crashed" (any other error, or the process died) or "excluded".
        reason: What went wrong; for "excluded", why the model isn't counted.
        calls, layers: Calls of the trace, and layers of the network.
        parameters: Numbers in the module's parameters.
        convert, build: Seconds of capture and emit, and of TensorRT.
        error, torch_error, allowed: Of the output nearest to what is allowed, or farthest beyond.
        versions: Of what it was found with.
    """

    source: str
    family: str
    name: str
    status: str
    reason: str = ""
    calls: int = 0
    layers: int = 0
    parameters: int = 0
    convert: float = 0.0
    build: float = 0.0
    error: float = 0.0
    torch_error: float = 0.0
    allowed: float = 0.0
    versions: str = ""


def measure(source: str, example: Example, device: str, precision: str | None = None) -> Result:
    """Convert a model and compare it with PyTorch on inputs that it wasn't converted with.

    Args:
        device: "cpu" runs it by the interpreter, "cuda" as an engine.
        precision: As for `trtconv.convert`; errors are measured by PyTorch's in that dtype.
    """
    result = Result(source, example.family, example.name, "excluded", example.excluded, versions=_versions())
    if example.excluded:
        return result
    torch.manual_seed(zlib.crc32(example.name.encode()))
    try:
        module, draw = example.make()
        if not example.pretrained:
            randomize(module)
        module, draw = module.to(device), _drawn_on(device, draw)
        if not example.pretrained:
            set_moments(module, *_several(draw))
        args, kwargs = draw()
        by_interpreter = device == "cpu"
        result = dataclasses.replace(result, parameters=sum(p.numel() for p in module.parameters()))
        converted = trtconv.convert(
            module,
            args,
            kwargs,
            dynamic_shapes=example.dynamic_shapes,
            precision=precision,
            tf32=by_interpreter,
            keep_network=by_interpreter,
        )
        provenance = converted.plan.provenance
        seconds = provenance["seconds"]
        result = dataclasses.replace(
            result,
            calls=provenance["calls"],
            layers=provenance["layers"],
            convert=seconds["capture"] + seconds["emit"],
            build=seconds["build"],
        )
        effects = _effects(module, draw)
        comparisons: list[Comparison] = []
        least = max(example.draws, 1 if example.dynamic_shapes is None else 2)
        for _ in range(DRAWS):
            comparisons.append(compare(module, converted, *draw()))
            judged = _judge(result, comparisons, effects)
            if judged.status == "correct" and len(comparisons) >= least:
                break
        return judged
    except trtconv.ConversionError as error:
        return dataclasses.replace(result, status="refused", reason=f"{type(error).__name__}: {error}")
    except Exception as error:
        where = traceback.extract_tb(error.__traceback__)[-1]
        place = f"{pathlib.Path(where.filename).name}:{where.lineno}"
        return dataclasses.replace(result, status="crashed", reason=f"{type(error).__name__} at {place}: {error}")


def _several(draw: Draw) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Several images as one batch, or what is drawn if it isn't an image."""
    args, kwargs = draw()
    if len(args) == 1 and not kwargs and isinstance(args[0], torch.Tensor) and args[0].dim() == 4:
        height, width = args[0].shape[2:]
        others = (draw()[0][0] for _ in range(MOMENTS - 1))
        return (torch.cat([args[0], *(x for x in others if x.shape[2:] == (height, width))]),), kwargs
    return args, kwargs


def _drawn_on(device: str, draw: Draw) -> Draw:
    """The same inputs on a device."""

    def drawn() -> Any:
        leaves, nesting = take_apart(draw())
        return nesting.fill(leaf.to(device) if isinstance(leaf, torch.Tensor) else leaf for leaf in leaves)

    return drawn if device != "cpu" else draw


def _effects(module: torch.nn.Module, draw: Draw) -> list[float]:
    """How far each output lies from that on another input; infinitely far where it has other sizes."""
    with torch.no_grad():
        results = [take_apart(module(*args, **kwargs))[0] for args, kwargs in (draw(), draw())]
    pairs = [pair for pair in zip(*results, strict=True) if isinstance(pair[0], torch.Tensor)]
    return [_distance(a.double().nan_to_num(), b.double().nan_to_num()) for a, b in pairs]


def _distance(a: torch.Tensor, b: torch.Tensor) -> float:
    if a.shape != b.shape:
        return math.inf
    return float((a - b).abs().max()) if a.numel() else 0.0


def _judge(result: Result, comparisons: Sequence[Comparison], effects: Sequence[float]) -> Result:
    """The largest errors of several draws against each other, for the output that is worst off."""
    joined = join(comparisons).outputs
    problems = [output.problem for output in joined if output.problem]
    if problems or not joined:
        return dataclasses.replace(result, status="wrong", reason=problems[0] if problems else "it returns no tensor")
    worst = max(joined, key=lambda output: output.worst.share)
    # Where PyTorch's float32 itself is far off (rows without any key), agreement says nothing of the others.
    depends = any(
        effect > LEAST_EFFECT * min(output.whole.allowed for output in outputs)
        for effect, *outputs in zip(effects, *(comparison.outputs for comparison in comparisons), strict=True)
    )
    status, reason = "correct", ""
    if not worst.correct:
        status, reason = "wrong", str(worst)
    elif not depends:
        status, reason = "wrong", "the result hardly depends on the inputs, so that it agrees says nothing"
    shown = worst.worst
    return dataclasses.replace(
        result, status=status, reason=reason, error=shown.error, torch_error=shown.torch_error, allowed=shown.allowed
    )


def _versions() -> str:
    return f"torch {torch.__version__}, {trtconv.tensorrt.load().__name__} {trtconv.tensorrt.load().__version__}"


def run_all(
    chosen: Sequence[tuple[str, Example]],
    workers: int,
    device: str,
    seconds: float,
    path: pathlib.Path,
    precision: str | None,
) -> None:
    """Measure each model in a process of its own, as many at once as there are workers and memory for.

    What isn't done after so many `seconds` has no result; the others are added to the file `path`.
    """
    begin = time.perf_counter()
    context = multiprocessing.get_context("fork")  # the imports are done once, in this process
    registry.find(torch.relu)  # loads the converters
    room = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30 - 2
    waiting = list(chosen)
    running: dict[Any, tuple[str, Example, float]] = {}
    done = 0
    while (waiting or running) and time.perf_counter() - begin < seconds:
        taken = sum(example.gib for _, example, _ in running.values())
        if waiting and len(running) < workers and (not running or taken + waiting[0][1].gib <= room):
            source, example = waiting.pop(0)
            process = context.Process(
                target=_measure_and_keep, args=(source, example, workers, device, path, precision)
            )
            process.start()
            running[process] = (source, example, time.perf_counter())
            continue
        for process in [process for process in running if not process.is_alive()]:
            source, example, started = running.pop(process)
            done += 1
            if process.exitcode:
                _keep(Result(source, example.family, example.name, "crashed", f"exit code {process.exitcode}"), path)
            kept = read(path).get((source, example.name))
            said = f"{kept.status} {kept.reason[:300]}" if kept else "no result"
            took = time.perf_counter() - started
            print(f"{done}/{len(chosen)} {source}/{example.name} {took:.0f} s: {said}", flush=True)
        time.sleep(0.2)
    for process in running:
        process.kill()


def _measure_and_keep(
    source: str, example: Example, workers: int, device: str, path: pathlib.Path, precision: str | None
) -> None:
    torch.set_num_threads(max(1, (os.cpu_count() or 1) // workers))
    if device == "cuda":  # PyTorch's own error is measured without TensorFloat-32 too
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    _keep(measure(source, example, device, precision), path)


def _keep(result: Result, path: pathlib.Path) -> None:
    path.parent.mkdir(exist_ok=True)
    with path.open("a") as file:
        file.write(json.dumps(dataclasses.asdict(result)) + "\n")


def read(path: pathlib.Path) -> dict[tuple[str, str], Result]:
    """The last result of each model in a file of results, by source and name; none where there is no file."""
    lines = path.read_text().splitlines() if path.exists() else []
    results = [Result(**json.loads(line)) for line in lines]
    return {(result.source, result.name): result for result in results}


def changes(
    earlier: Mapping[tuple[str, str], Result], now: Mapping[tuple[str, str], Result]
) -> tuple[list[str], list[str]]:
    """What got worse and what got better, a line for each model of the earlier results."""
    worse, better = [], []
    for (source, name), before in earlier.items():
        after = now.get((source, name), Result(source, before.family, name, VERDICTS[0]))
        change = VERDICTS.index(after.status) - VERDICTS.index(before.status)
        if change:
            reason = " ".join((after.reason if change < 0 else before.reason).split())[:300]
            line = f"{source}/{name}: {before.status} -> {after.status}{reason and ': ' + reason}"
            (worse if change < 0 else better).append(line)
    return worse, better


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="*", default=["*"], help='sources, or patterns of "source/name"')
    parser.add_argument("--missing", action="store_true", help="skip what is correct already")
    parser.add_argument("--table", action="store_true", help="run nothing, write the table")
    parser.add_argument("--dynamic", action="store_true", help="the models with sizes that vary")
    parser.add_argument("--precision", choices=("fp16", "bf16"), help="convert with it (default: the models' own)")
    parser.add_argument("--workers", type=int, default=2, help="processes at once (default 2)")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu", help="cuda runs engines (default cpu)")
    parser.add_argument("--seconds", type=float, default=math.inf, help="stop after this time")
    parser.add_argument(
        "--compare", type=pathlib.Path, metavar="EARLIER", help="earlier results, such as coverage.jsonl"
    )
    options = parser.parse_args()
    earlier = read(options.compare) if options.compare else None  # before this run adds to it
    table = (
        "coverage"
        + "_dynamic" * options.dynamic
        + f"_{options.precision}" * bool(options.precision)
        + "_engines" * (options.device == "cuda")
    )
    path = FOLDER / f"{table}.jsonl"
    known = [(source, example) for source in (VARYING if options.dynamic else SOURCES) for example in examples(source)]
    if not options.table:
        have = {key for key, result in read(path).items() if result.status == "correct"} if options.missing else set()
        chosen = [
            (source, example)
            for source, example in known
            if _is_chosen(source, example.name, options.only) and (source, example.name) not in have
        ]
        run_all(chosen, options.workers, options.device, options.seconds, path, options.precision)
    results = read(path)
    rows = [results[key] for key in ((source, example.name) for source, example in known) if key in results]
    machine = f"{os.cpu_count()} cores ({platform.machine()}), {options.workers} models at once, "
    if options.device == "cpu":
        path = ROOT / "benchmarks" / "results" / f"{table}.md"
        write_table(path, rows, machine + "no GPU", dynamic=options.dynamic, precision=options.precision)
    else:
        write_table(
            FOLDER / f"{table}.md",
            rows,
            machine + torch.cuda.get_device_name(),
            engines=True,
            precision=options.precision,
        )
    if earlier is not None and _report({k: row for k, row in earlier.items() if _is_chosen(*k, options.only)}, results):
        sys.exit(1)


def _report(earlier: Mapping[tuple[str, str], Result], now: Mapping[tuple[str, str], Result]) -> bool:
    """Print what got worse and better, and say whether something got worse."""
    worse, better = changes(earlier, now)
    for heading, lines in (("worse", worse), ("better", better)):
        print(f"{len(lines)} of {len(earlier)} got {heading}", *lines, sep="\n  ")
    return bool(worse)


def _is_chosen(source: str, name: str, patterns: Sequence[str]) -> bool:
    return any(source == pattern or fnmatch.fnmatch(f"{source}/{name}", pattern) for pattern in patterns)


if __name__ == "__main__":
    main()
