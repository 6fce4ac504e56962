"""A part of a network with the values that go in and should come out: what runs by itself, and is kept in a file."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping, Sequence
from os import PathLike
from pathlib import Path

import torch

from trtconv import tensorrt as trt
from trtconv.graph.data import DataType, Graph, Layer
from trtconv.graph.serialize import from_state, to_state
from trtconv.inspect.comparison import Comparison
from trtconv.inspect.oracle import OutputComparison, compare_tensors
from trtconv.inspect.running import EngineRunner, Runner, Values, interpreted
from trtconv.places import place
from trtconv.shown.table import Table

_FORMAT = "trtconv.inspect.part"
_PRODUCTS = {"CONVOLUTION", "DECONVOLUTION", "MATRIX_MULTIPLY", "EINSUM", "ATTENTION_INPUT"}
"""The layers whose fp32 factors are rounded to TensorFloat-32."""
_ROUNDINGS = {DataType.FLOAT: 2**-24, DataType.HALF: 2**-11, DataType.BF16: 2**-8, DataType.FP8: 2**-4}
_TF32 = 2**-11
_FUNCTIONS = 4
"""By how many roundings a function may be off that is computed by a formula of its own on the GPU."""
_DRAWS = 3


@dataclasses.dataclass(frozen=True, eq=False)
class Part:
    """Layers of a network as a network of their own.

    Attributes:
        graph: The layers, with the constants that they read.
        inputs: The values that they take, by name.
        expected: What the reference interpreter makes of these, by name.
        runner: What builds and runs an engine of them.
    """

    graph: Graph
    inputs: Values
    expected: Values
    runner: EngineRunner = dataclasses.field(default_factory=EngineRunner)

    @property
    def layers(self) -> list[Layer]:
        """Its layers but the constants."""
        return [layer for layer in self.graph.layers if layer.type != "CONSTANT"]

    def run(self, runner: Runner | None = None) -> Values:
        """The outputs that an engine of it gives, or another runner.

        Raises:
            BuildError: TensorRT doesn't build it.
            EngineError: there is no GPU that TensorRT runs on, and no other runner was given.
        """
        if runner is not None:
            return runner(self.graph, self.inputs)
        on_gpu = (
            {name: value.cuda() for name, value in self.inputs.items()} if torch.cuda.is_available() else self.inputs
        )
        return {name: value.cpu() for name, value in self.runner(self.graph, on_gpu).items()}

    def compare(self, results: Values) -> Comparison:
        """How far results are from what is expected.

        In the place of PyTorch's own error there is what the interpreter's results change by when all floats that go
        in are off by one rounding of the coarsest type in it (TensorFloat-32 where fp32 products are rounded to that),
        times the root of the number of layers: each rounds anew.
        """
        measure = self._rounded_off()
        return Comparison(
            tuple(
                _compared(self.expected[name], measure[name], results[name].to(self.expected[name].device))
                for name in self.graph.outputs
            )
        )

    def _rounded_off(self) -> dict[str, torch.Tensor]:
        """Results that are off by as much as rounding explains."""
        types = {kind.dtype for kind in self.graph.tensors.values()}
        rounding = max((_ROUNDINGS[kind] for kind in types if kind in _ROUNDINGS), default=0.0)
        if self.runner.tf32 and any(layer.type in _PRODUCTS for layer in self.graph.layers):
            rounding = max(rounding, _TF32)
        generator = torch.Generator().manual_seed(0)
        draws = [
            interpreted(self.graph, {name: _noisy(x, rounding, generator) for name, x in self.inputs.items()})
            for _ in range(_DRAWS)
        ]
        growth = math.sqrt(len(self.layers))
        return {name: _off(self.expected[name], [draw[name] for draw in draws], growth) for name in self.graph.outputs}

    def table(self) -> Table:
        """Its layers, and where they come from."""
        return Table(("layer", "type", "function", "module", "line"), [_row(layer) for layer in self.layers])

    def __str__(self) -> str:
        return str(self.table())

    def _repr_html_(self) -> str:
        return self.table()._repr_html_()

    def save(self, path: str | PathLike[str]) -> None:
        """Write a script that runs it alone, without the model's code, and its data beside it.

        Args:
            path: Of the script, "wrong.py"; the data are in "wrong.pt" then.
        """
        script = Path(path).with_suffix(".py")
        text, weights = to_state(self.graph)
        header = {
            "format": _FORMAT,
            "graph": text,
            "outputs": self.graph.outputs,
            "runner": dataclasses.asdict(self.runner),
        }
        state = {"part": torch.frombuffer(bytearray(json.dumps(header).encode()), dtype=torch.uint8)}
        for kind, values in (("weights", weights), ("inputs", self.inputs), ("expected", self.expected)):
            state |= {f"{kind}.{name}": value.detach().cpu().contiguous() for name, value in values.items()}
        torch.save(state, script.with_suffix(".pt"))
        release = f"{trt.release()}, torch {torch.__version__}" if trt.is_available() else f"torch {torch.__version__}"
        script.write_text(_SCRIPT.format(table=self, made=release, name=script.stem))

    @staticmethod
    def load(path: str | PathLike[str]) -> Part:
        """What `save` wrote, by the path of the script or of its data.

        Raises:
            OSError: the file can't be read.
            ValueError: it is damaged, or something else.
        """
        state = torch.load(Path(path).with_suffix(".pt"), weights_only=True, map_location="cpu")
        try:
            header = json.loads(bytes(state["part"].numpy()))
            if header["format"] != _FORMAT:
                raise ValueError(f"it has the format {header['format']!r}")
            graph = from_state(header["graph"], _under(state, "weights."))
            values = _under(state, "inputs."), _under(state, "expected.")
            return Part(graph, *values, EngineRunner(**header["runner"]))
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            raise ValueError(f"{path} is no saved part of a network: {error!r}") from error


def _under(state: Mapping[str, torch.Tensor], prefix: str) -> dict[str, torch.Tensor]:
    return {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}


def _row(layer: Layer) -> list[str]:
    origin = layer.origin
    if origin is None:
        return [layer.name, layer.type, "", "", ""]
    return [
        layer.name,
        layer.type,
        origin.function,
        origin.module,
        place(*(origin.caller or (origin.file, origin.line))),
    ]


def _noisy(x: torch.Tensor, rounding: float, generator: torch.Generator) -> torch.Tensor:
    if not x.is_floating_point() or x.dtype.itemsize == 1:
        return x
    noise = torch.rand(x.shape, generator=generator, dtype=torch.float64).to(x.device) * 2 - 1
    return (x.double() * (1 + rounding * noise)).to(x.dtype)


def _off(expected: torch.Tensor, draws: Sequence[torch.Tensor], growth: float) -> torch.Tensor:
    """What is off by as much as rounding explains; of integers which ones rounding changes."""
    if not expected.is_floating_point():
        return torch.stack([draw != expected for draw in draws]).any(0)
    wide = expected.double()
    error = torch.stack([(draw.double() - wide).abs().nan_to_num(0.0, 0.0, 0.0) for draw in draws]).amax(0)
    limits = torch.finfo(expected.dtype)
    off = wide.abs() + growth * error + _FUNCTIONS * limits.eps / 2 * wide.abs()
    off = torch.copysign(off.clamp(max=limits.max), wide).to(expected.dtype)
    return torch.where(expected.isfinite(), off, expected)


def _compared(expected: torch.Tensor, measure: torch.Tensor, result: torch.Tensor) -> OutputComparison:
    if expected.is_floating_point() or result.dtype is not expected.dtype or result.shape != expected.shape:
        return compare_tensors(expected.double(), measure.to(expected.dtype), result)
    return compare_tensors(expected, expected, torch.where(measure, expected, result))


_SCRIPT = '''"""A part of a network that an engine computes wrongly; it was found with {made}.

{table}
"""

from pathlib import Path

from trtconv.inspect import Part

part = Part.load(Path(__file__).with_name("{name}.pt"))  # part.graph: its layers; part.inputs, part.expected: tensors
print(part)
print(part.compare(part.run()))  # an engine against the reference interpreter; prints WRONG where they differ
'''
