"""Which operators of PyTorch's own database convert, and how right they are, through the reference interpreter.

    python benchmarks/opinfo.py                     # everything, to benchmarks/results/opinfo.md; an hour on one core
    python benchmarks/opinfo.py --only "linalg.*"   # some operators, printed
    python benchmarks/opinfo.py --samples 1         # at most so many samples of each operator
    python benchmarks/opinfo.py --all               # all samples of each; five times as many

A sample is a call that PyTorch tests itself with: its tensors become inputs of a module, the rest are constants.
What isn't the same from call to call in PyTorch, or has no tensor among its arguments, isn't counted.
Where trtconv announced that it computes in float32 what is float64, it is judged as float32.
"""

from __future__ import annotations

import argparse
import collections
import copy
import dataclasses
import fnmatch
import json
import pathlib
import re
import sys
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import torch
from torch.testing._internal.common_methods_invocations import op_db
from torch.utils import _pytree as pytree

import trtconv
from trtconv.capture.reasons import REASONS
from trtconv.errors import (
    ConversionError,
    InputError,
    PrecisionWarning,
    UnsupportedArgumentError,
    UnsupportedCallsError,
)
from trtconv.inspect import Comparison, compare, compare_tensors, join

RESULT = pathlib.Path(__file__).resolve().parent / "results" / "opinfo.md"
SAMPLES = 7
"""Samples of an operator, spread over all that it has."""
DRAWS = 8
"""Inputs that a result is compared on, by the largest errors of each side; fewer if it is correct on the first."""

RIGHT, REFUSED, WRONG, BROKEN, UNCOUNTED = "right", "refused", "wrong", "broken", "not counted"


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What became of a sample.

    Attributes:
        operator: The operator's name in the database, with its variant.
        sample: Which of the operator's samples.
        status: RIGHT, REFUSED (an error of the library's), WRONG, BROKEN (any other error) or UNCOUNTED.
        reason: Why, in short, if it isn't right.
    """

    operator: str
    sample: int
    status: str
    reason: str = ""


class Sample(torch.nn.Module):
    """A call of an operator; the tensors among its arguments are the module's inputs."""

    def __init__(self, function: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        super().__init__()
        leaves, self._structure = pytree.tree_flatten((args, kwargs))
        self._function = function
        self._instead: dict[torch.dtype, torch.dtype] = {}
        self._leaves = [None if isinstance(leaf, torch.Tensor) else leaf for leaf in leaves]
        self._places = [place for place, leaf in enumerate(leaves) if isinstance(leaf, torch.Tensor)]
        self.tensors = tuple(leaf.detach() for leaf in leaves if isinstance(leaf, torch.Tensor))

    def forward(self, *tensors: torch.Tensor) -> Any:
        leaves = list(self._leaves)
        for place, tensor in zip(self._places, tensors, strict=True):
            leaves[place] = tensor
        leaves = [self._instead.get(leaf, leaf) if isinstance(leaf, torch.dtype) else leaf for leaf in leaves]
        args, kwargs = pytree.tree_unflatten(leaves, self._structure)
        return self._function(*args, **kwargs)

    def double(self) -> Sample:
        """Ask for float64 where the call asks for float32, as the measure of it must."""
        self._instead = {torch.float32: torch.float64}
        return super().double()

    def float(self) -> Sample:
        """Ask for float32 where the call asks for float64."""
        self._instead = {torch.float64: torch.float32}
        return super().float()


def name_of(operator: Any) -> str:
    """An operator's name in the database: "linalg.inv", "nn.functional.gelu", "std.unbiased"."""
    return operator.name + (f".{operator.variant_test_name}" if operator.variant_test_name else "")


def operators() -> list[Any]:
    """The operators that PyTorch runs in float32 on the CPU, sorted by name."""
    return sorted((each for each in op_db if torch.float32 in each.supported_dtypes("cpu")), key=name_of)


def outcomes(operator: Any, count: int | None = SAMPLES) -> Iterator[Outcome]:
    """Convert some samples of an operator, or all, and compare each with PyTorch."""
    for number, sample in _spread(_samples(operator), count):
        module = Sample(operator.op, (sample.input, *sample.args), sample.kwargs).eval()
        yield Outcome(name_of(operator), number, *_outcome(module))


def _samples(operator: Any, seed: int = 0) -> list[Any]:
    torch.manual_seed(seed)
    return list(operator.sample_inputs("cpu", torch.float32, requires_grad=False))


def _spread(samples: Sequence[Any], count: int | None) -> list[tuple[int, Any]]:
    last = len(samples) - 1
    if count is None or last < count:
        return list(enumerate(samples))
    chosen = {round(i * last / max(count - 1, 1)) for i in range(count)}
    return [(number, samples[number]) for number in sorted(chosen)]


def _outcome(module: Sample) -> tuple[str, str]:
    if not module.tensors:
        return UNCOUNTED, "no tensor among the arguments"
    why = _not_counted(module)
    if why:
        return UNCOUNTED, why
    try:
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            converted = trtconv.convert(module, module.tensors)
        announced = any(issubclass(each.category, PrecisionWarning) for each in said)
        comparisons = _compared(module, converted, _compare_in_single if announced else compare)
    except (ConversionError, InputError) as error:
        return REFUSED, _in_short(error)
    except Exception as error:  # whatever it is, it is what this script looks for
        return BROKEN, f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0]}"
    joined = join(comparisons)
    return (RIGHT, "") if joined.correct else (WRONG, "; ".join(map(str, joined.outputs)))


def _not_counted(module: Sample) -> str:
    try:
        results = [pytree.tree_leaves(module(*map(torch.clone, module.tensors))) for _ in range(2)]
    except Exception as error:  # PyTorch's own, of any kind
        return f"PyTorch raises {type(error).__name__}"
    tensors = [[leaf for leaf in leaves if isinstance(leaf, torch.Tensor)] for leaves in results]
    if not tensors[0]:
        return "the result holds no tensor"
    if any(a.is_sparse or a.layout is not torch.strided for a in tensors[0]):
        return "the result is sparse"
    same = all(torch.allclose(a, b, rtol=0, atol=0, equal_nan=True) for a, b in zip(*tensors, strict=True))
    return "" if same else "the result differs from call to call"


Compare = Callable[[Sample, Any, tuple[torch.Tensor, ...]], Comparison]


def _compare_in_single(module: Sample, converted: Any, inputs: tuple[torch.Tensor, ...]) -> Comparison:
    """Compare with float64, as `compare`, results that are float64 but were announced to be computed in float32."""
    double, single = copy.deepcopy(module).double(), copy.deepcopy(module).float()
    doubles = (t.double() if t.is_floating_point() else t.clone() for t in inputs)
    precise, own, result = (
        [leaf for leaf in pytree.tree_leaves(function(*map(torch.clone, values))) if isinstance(leaf, torch.Tensor)]
        for function, values in ((double, doubles), (single, map(_single, inputs)), (converted, inputs))
    )
    triples = zip(precise, map(_single, own), map(_single, result), strict=True)
    return Comparison(tuple(compare_tensors(*triple) for triple in triples))


def _single(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.float() if tensor.dtype is torch.float64 else tensor


def _compared(module: Sample, converted: Any, compare: Compare) -> list[Comparison]:
    """Comparisons on one input, and on more of the same kind where that one is less precise than allowed."""
    results: list[Comparison] = []
    generator = torch.Generator().manual_seed(1)
    for number in range(DRAWS):
        factor = 1.0 if number == 0 else float(torch.rand((), generator=generator)) * 0.5 + 0.5
        inputs = tuple(t * factor if t.is_floating_point() else t for t in module.tensors)
        results.append(compare(module, converted, inputs))
        if join(results).correct or any(output.problem for output in results[-1].outputs):
            break
    return results


def _in_short(error: Exception) -> str:
    """The reason in an error of the library's, without the place and the advice."""
    text = str(error)
    if isinstance(error, UnsupportedCallsError):
        names = re.findall(r"torch\.ops\.(\S+)", text)
        known = [name for name in names if name.split(".")[1] in REASONS]
        return "no converter: " + ", ".join(dict.fromkeys(known or names))
    if isinstance(error, UnsupportedArgumentError):
        return text.partition(": ")[2]
    return text.partition("\n")[0]


def write(path: pathlib.Path, results: Iterable[Outcome], samples: int | None) -> None:
    """Write the table: a summary, what is wrong or broken, the reasons of refusals, and counts by operator."""
    results = list(results)
    parts = [*_summary(results, samples), *_faults(results), *_refusals(results), *_counts(results)]
    path.write_text("\n".join(parts) + "\n")


def _summary(results: Sequence[Outcome], samples: int | None) -> list[str]:
    counts = collections.Counter(each.status for each in results)
    counted = sum(counts.values()) - counts[UNCOUNTED]
    share = f"{counts[RIGHT] / counted:.1%}" if counted else "-"
    return [
        "# PyTorch's operator database",
        "",
        f"What `python benchmarks/opinfo.py {'--all' if samples is None else f'--samples {samples}'}` found in float32 "
        f"through the reference interpreter, with torch {torch.__version__}: "
        f"{'all' if samples is None else f'up to {samples}'} samples of each operator, each converted with its tensors "
        "as inputs.",
        "",
        f"{counted} samples: **{counts[RIGHT]} right ({share})**, {counts[REFUSED]} refused, {counts[WRONG]} wrong, "
        f"{counts[BROKEN]} broken; {counts[UNCOUNTED]} not counted (no tensor comes in or out, or random).",
    ]


def _faults(results: Sequence[Outcome]) -> Iterator[str]:
    faults = [each for each in results if each.status in (WRONG, BROKEN)]
    if faults:
        yield from ("", "## Wrong or broken", "")
    for each in faults:
        yield f"- `{each.operator}`, sample {each.sample}, {each.status}: {each.reason}"


def _refusals(results: Sequence[Outcome]) -> Iterator[str]:
    reasons: dict[str, list[str]] = collections.defaultdict(list)
    for each in results:
        if each.status == REFUSED:
            reasons[_general(each.reason)].append(each.operator)
    yield from ("", "## Refused", "", "| samples | reason | operators |", "|---|---|---|")
    for reason, names in sorted(reasons.items(), key=lambda item: -len(item[1])):
        shown = ", ".join(f"`{name}`" for name in sorted(set(names)))
        yield f"| {len(names)} | {reason.replace('|', chr(92) + '|')} | {shown} |"


def _general(reason: str) -> str:
    """A reason without this call's place, shapes and numbers."""
    return re.sub(r"\[[\d, ]*\]", "[...]", reason)


def _counts(results: Sequence[Outcome]) -> Iterator[str]:
    by_operator: dict[str, collections.Counter[str]] = collections.defaultdict(collections.Counter)
    for each in results:
        by_operator[each.operator][each.status] += 1
    statuses = (RIGHT, REFUSED, WRONG, BROKEN)
    yield from ("", "## By operator", "", f"| operator | {' | '.join(statuses)} |", "|---|---|---|---|---|")
    for operator, counts in by_operator.items():
        if any(counts[status] for status in statuses):
            yield f"| `{operator}` | {' | '.join(str(counts[status] or '') for status in statuses)} |"


def main() -> None:
    """Run what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="*", help="operators by a pattern of their names")
    parser.add_argument("--samples", type=int, default=SAMPLES, help="samples of each operator")
    parser.add_argument("--all", dest="samples", action="store_const", const=None, help="all samples")
    parser.add_argument("--out", type=pathlib.Path, help="where to write; benchmarks/results/opinfo.md without --only")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    results: list[Outcome] = []
    for operator in operators():
        if fnmatch.fnmatch(name_of(operator), options.only):
            for outcome in outcomes(operator, options.samples):
                results.append(outcome)
                if outcome.status not in (RIGHT, UNCOUNTED):
                    print(json.dumps(dataclasses.asdict(outcome)), flush=True)
    path = options.out or (RESULT if options.only == "*" else None)
    if path:
        write(path, results, options.samples)
    print(_summary(results, options.samples)[-1], file=sys.stderr)


if __name__ == "__main__":
    main()
