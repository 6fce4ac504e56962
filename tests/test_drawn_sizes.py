"""Slices, pads, views and arithmetic on sizes, drawn: torch's results at every size of small ranges, or a refusal."""

import torch
import torch.nn.functional as F
from cases import Function
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import trtconv

LEAST, LARGEST = 2, 6

numbers = st.integers(-4, 4)
sizes = st.recursive(
    numbers.map(str) | st.sampled_from(["h", "w"]),
    lambda inner: (
        st.builds("({} {} {})".format, inner, st.sampled_from(["+", "-", "*"]), inner)
        | st.builds("({} {} {})".format, inner, st.sampled_from(["//", "%"]), st.integers(1, 3))
        | st.builds("torch.sym_{}({}, {})".format, st.sampled_from(["max", "min"]), inner, inner)
        | st.builds("torch.sym_int({} * {})".format, inner, st.sampled_from(["0.7", "0.5"]))
    ),
    max_leaves=3,
)
bounds = st.just("") | sizes
ways = st.one_of(
    st.builds("x[:, {}:{}]".format, bounds, bounds),
    st.builds("x[..., {}:{}:2]".format, bounds, bounds),
    st.builds("written(x, slice({}, {}))".format, sizes, sizes),
    st.builds("F.pad(x, (0, torch.sym_max({}, 0)))".format, sizes),
    st.builds("x.roll({}, 1)".format, sizes),
    st.builds("x.transpose(1, 2).reshape(3, h * w)[:, : {}]".format, sizes),
    st.builds("x * ({})".format, sizes),
    st.just("x.flatten(1).reshape(3, w, h)"),
)


def written(x, part):
    y = x.clone()
    y[:, part] = 7
    return y


@settings(max_examples=40, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(st.lists(ways, min_size=1, max_size=2))
def test_every_size(lines):
    code = "\n    ".join(f"x = {line}; h, w = x.shape[1], x.shape[-1]" for line in lines)
    scope = {"torch": torch, "F": F, "written": written}
    exec(f"def function(x):\n    h, w = x.shape[1:]\n    {code}\n    return x", scope)
    module = Function(scope["function"])
    inputs = [torch.randn(3, h, w) for h in range(LEAST, LARGEST + 1) for w in range(LEAST, LARGEST + 1)]
    try:
        expected = [module(x) for x in inputs]
    except (IndexError, RuntimeError, ZeroDivisionError):
        return  # what torch doesn't take at some sizes is tested by itself
    limits = (LEAST, LEAST + 2, LARGEST)
    try:
        converted = trtconv.convert(module, inputs[-1], dynamic_shapes={"args": {0: {1: limits, 2: limits}}})
    except trtconv.CaptureError as error:
        assert "decides by a dynamic size" in str(error)
        return
    for x, y in zip(inputs, expected, strict=True):
        torch.testing.assert_close(converted(x), y, msg=lambda text, x=x: f"{lines} of {tuple(x.shape)}: {text}")


def test_what_is_drawn_is_not_refused_as_a_rule():
    """The property above would hold of a library that refused everything."""
    for line in ("x[:, h // 2 : (w - 1)]", "written(x, slice((h - 3), (w // 2)))", "x * (torch.sym_max(h, w) % 3)"):
        scope = {"torch": torch, "F": F, "written": written}
        exec(f"def function(x):\n    h, w = x.shape[1:]\n    return {line}", scope)
        limits = (LEAST, LEAST + 2, LARGEST)
        trtconv.convert(
            Function(scope["function"]), torch.randn(3, 4, 5), dynamic_shapes={"args": {0: {1: limits, 2: limits}}}
        )
