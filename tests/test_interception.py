"""Converters of functions that torch knows nothing of, whatever holds the function."""

import contextvars
import functools
import inspect
import sys
import threading
import types

import pytest
import torch
from cases import Function
from torch import nn

import trtconv
from trtconv import tensorrt as trt
from trtconv.capture.interception import intercepted

HOLDER = types.ModuleType("holder_of_functions")
sys.modules[HOLDER.__name__] = HOLDER


def define(scale=3.0):
    """Define `holder_of_functions.h` anew, as a notebook's cell does."""
    exec(f"def h(x, factor={scale}):\n    return x * factor\n", HOLDER.__dict__)
    return HOLDER.h


def constant(ctx, value, rank):
    return ctx.network.add_constant((1,) * rank, torch.tensor([value]).numpy()).get_output(0)


def register(target, seen, **options):
    """A converter that shows that it was used: it adds 100."""

    @trtconv.tensorrt_converter(target, **options)
    def convert_h(ctx):
        seen.append(ctx)
        x = next(each for each in ctx.method_args if isinstance(each, torch.Tensor))
        hundred = constant(ctx, 100.0, x.dim())
        layer = ctx.network.add_elementwise(x._trt, hundred, trt.ElementWiseOperation.SUM)
        ctx.method_return._trt = layer.get_output(0)


class Holds(nn.Module):
    def __init__(self, function):
        super().__init__()
        self.f = function

    def forward(self, x):
        return self.f(x)


class Methods(nn.Module):
    @staticmethod
    def still(x):
        return x * 2

    @classmethod
    def of_class(cls, x):
        return x * 2

    def method(self, x):
        return x * 2

    def forward(self, x):
        return self.still(x), self.of_class(x), self.method(x)


def closed_over(function):
    def call(x):
        return function(x)

    return call


def by_default(function):
    def call(x, function=function):
        return function(x)

    return call


HOLDERS = {
    "attribute": Holds,
    "dict": lambda h: Function(lambda x, table={"h": h}: table["h"](x)),
    "closure": lambda h: Function(closed_over(h)),
    "partial": lambda h: Function(functools.partial(h, factor=4.0)),
    "default": lambda h: Function(by_default(h)),
    "wrapper": lambda h: Function(functools.wraps(h)(closed_over(h))),
    "map": lambda h: Function(lambda x: next(iter(map(h, [x])))),
}


@pytest.mark.parametrize("named", [True, False], ids=["by-name", "by-object"])
@pytest.mark.parametrize("holder", HOLDERS.values(), ids=HOLDERS)
def test_a_function_is_intercepted_whatever_holds_it(clean, holder, named):
    h = define()
    code = h.__code__
    module, seen = holder(h), []
    register("holder_of_functions.h" if named else h, seen)
    x = torch.randn(2, 3)
    assert torch.equal(trtconv.convert(module, x)(x), x + 100)
    assert len(seen) == 1
    assert h.__code__ is code and not hasattr(h, "__signature__")
    assert not torch.equal(module(x), x + 100)


def test_a_cell_that_defines_the_function_anew(clean):
    define()
    seen = []
    register("holder_of_functions.h", seen)
    module = Holds(define(5.0))
    x = torch.randn(2)
    assert torch.equal(trtconv.convert(module, x)(x), x + 100)
    register("holder_of_functions.h", seen)  # the cell of the converter too
    assert torch.equal(trtconv.convert(module, x)(x), x + 100)


def test_a_name_that_stands_for_another_function_is_told(clean):
    define()
    register("holder_of_functions.h", [])
    HOLDER.h = define
    with pytest.raises(ValueError, match=r"was holder_of_functions\.h .* is test_interception\.define now"):
        trtconv.convert(nn.ReLU(), torch.randn(2))


@pytest.mark.parametrize("index, name", [(0, "still"), (1, "of_class"), (2, "method")])
def test_methods_of_every_kind(clean, index, name):
    module = Methods()
    register(f"{__name__}.Methods.{name}", [])
    x = torch.randn(2, 3)
    results = trtconv.convert(module, x)(x)
    for place, result in enumerate(results):
        assert torch.equal(result, x + 100 if place == index else x * 2)


def test_a_bound_method_stands_for_its_function(clean):
    module = Methods()
    register(module.method, [])
    x = torch.randn(2)
    assert torch.equal(trtconv.convert(module, x)(x)[2], x + 100)


def test_lambdas_are_told_apart(clean):
    first = lambda x: x * 2  # noqa: E731  # what is tested
    second = lambda x: x * 3  # noqa: E731  # likewise
    register(first, [])
    trtconv.tensorrt_converter(second)(lambda ctx: setattr(ctx.method_return, "_trt", ctx.method_args[0]._trt))
    x = torch.randn(2)
    results = trtconv.convert(Function(lambda x: (first(x), second(x))), x)(x)
    assert torch.equal(results[0], x + 100) and torch.equal(results[1], x)


def test_the_outermost_call_is_taken(clean):
    def inner(x):
        return x * 2

    def outer(x, depth=2):
        return inner(x) if depth == 0 else outer(x, depth - 1)

    counts = [[], []]
    register(inner, counts[0])
    register(outer, counts[1])
    x = torch.randn(2)
    assert torch.equal(trtconv.convert(Function(lambda x: outer(x) + inner(x)), x)(x), (x + 100) * 2)
    assert list(map(len, counts)) == [1, 1]


def test_the_signature_can_be_asked_for_meanwhile(clean):
    h = define()
    register(h, [])
    module = Function(lambda x: h(x) if "factor" in inspect.signature(h).parameters else x)
    x = torch.randn(2)
    assert torch.equal(trtconv.convert(module, x)(x), x + 100)


def test_an_error_puts_the_code_back(clean):
    h = define()
    code = h.__code__
    register(h, [])
    with pytest.raises(ZeroDivisionError):
        trtconv.convert(Function(lambda x: h(x) / (1 // 0)), torch.randn(2))
    assert h.__code__ is code


def test_other_threads_run_the_original():
    def h(x):
        return x + 1

    results = []
    with intercepted([h], lambda function, args, kwargs: "intercepted"):
        thread = threading.Thread(target=lambda: results.append(h(1)))
        thread.start()
        thread.join()
        assert h(1) == "intercepted"
    assert results == [2] and h(1) == 2


def test_interceptions_that_end_out_of_order_leave_none():
    def h(x):
        return x + 1

    first = intercepted([h], lambda function, args, kwargs: "first")
    second = intercepted([h], lambda function, args, kwargs: "second")
    first.__enter__()
    second.__enter__()
    assert h(1) == "second"
    first.__exit__(None, None, None)
    assert h(1) == "second"
    second.__exit__(None, None, None)
    assert h(1) == 2 and "h" in h.__code__.co_name


def test_an_interception_that_ended_elsewhere_is_dead():
    def h(x):
        return x + 1

    dead = intercepted([h], lambda function, args, kwargs: "dead")
    dead.__enter__()
    contextvars.copy_context().run(dead.__exit__, None, None, None)
    other = contextvars.Context()
    alive = intercepted([h], lambda function, args, kwargs: "alive")
    other.run(alive.__enter__)  # keeps the trampoline, as another thread's conversion does
    assert h(1) == 2 and other.run(h, 1) == "alive"
    other.run(alive.__exit__, None, None, None)


def test_a_conversion_inside_a_conversion(clean):
    h = define()
    inner = []

    @trtconv.tensorrt_converter(h)
    def convert_h(ctx):
        if not inner:
            inner.append(None)
            x = torch.ones(2)
            inner.append(trtconv.convert(Holds(h), x)(x))
        ctx.method_return._trt = ctx.method_args[0]._trt

    x = torch.randn(2)
    assert torch.equal(trtconv.convert(Holds(h), x)(x), x)
    assert torch.equal(inner[1], torch.ones(2))


def test_conversions_in_several_threads_share_a_function(clean):
    h = define()
    code = h.__code__
    register(h, [])
    x = torch.randn(2)
    right = []

    def work():
        for _ in range(3):
            right.append(torch.equal(trtconv.convert(Holds(h), x)(x), x + 100))

    def beside():
        for _ in range(300):
            right.append(torch.equal(h(x), x * 3))

    threads = [threading.Thread(target=each) for each in (work, beside, work)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(right) == 306 and all(right)
    assert h.__code__ is code


class Scale(nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(3))

    def forward(self, x, shift=0.0):
        return x * self.weight + shift


class Inherits(Scale):
    pass


class Overrides(Scale):
    def forward(self, x, shift=0.0):
        return x * self.weight - 1


@pytest.mark.parametrize(
    "target",
    [Scale, Scale.forward, f"{__name__}.Scale", f"{__name__}.Scale.forward"],
    ids=["class", "forward", "class-by-name", "forward-by-name"],
)
def test_a_class_of_modules_is_taken_whole(clean, target):
    seen = []

    @trtconv.tensorrt_converter(target)
    def convert_scale(ctx):
        module, x = ctx.method_args
        seen.append((type(module), ctx.method_kwargs))
        weight = ctx.network.add_constant((1, 3), module.weight.detach().numpy()).get_output(0)
        layer = ctx.network.add_elementwise(x._trt, weight, trt.ElementWiseOperation.SUM)
        ctx.method_return._trt = layer.get_output(0)

    scale, inherits, overrides = Scale(), Inherits(), Overrides()
    layers = nn.ModuleList([scale, inherits, overrides])

    class Network(nn.Module):
        def __init__(self):
            super().__init__()
            self.layers = layers

        def forward(self, x):
            return scale(x, shift=1.0), inherits(x), overrides(x)

    x = torch.randn(2, 3)
    results = trtconv.convert(Network(), x)(x)
    assert seen == [(Scale, {"shift": 1.0}), (Inherits, {})]
    expected = x + scale.weight, x + inherits.weight, overrides(x)
    assert all(map(torch.equal, results, expected))


@pytest.mark.parametrize("target", ["torch.nn.Conv2d", "torch.nn.Conv2d.forward", nn.Conv2d, nn.Conv2d.forward])
def test_torchs_classes_are_taken_whole(clean, target):
    seen = []

    @trtconv.tensorrt_converter(target)
    def convert_conv(ctx):
        module, x = ctx.method_args
        seen.append((type(module), module.out_channels))
        kernel, bias = (each.detach().numpy() for each in (module.weight, module.bias))
        layer = ctx.network.add_convolution_nd(x._trt, module.out_channels, module.kernel_size, kernel, bias)
        ctx.method_return._trt = layer.get_output(0)

    module, x = nn.Sequential(nn.Conv2d(2, 3, 3), nn.ReLU()), torch.randn(1, 2, 5, 5)
    forward = nn.Conv2d.forward.__code__
    torch.testing.assert_close(trtconv.convert(module, x)(x), module(x))
    assert seen == [(nn.Conv2d, 3)] and nn.Conv2d.forward.__code__ is forward


def test_a_function_of_torchs_that_its_modes_do_not_see(clean):
    register("torch.nn.functional.sigmoid", [])
    x = torch.randn(2)
    assert torch.equal(trtconv.convert(Function(nn.functional.sigmoid), x)(x), x + 100)


def generator(x):
    yield x


async def coroutine(x):
    return x


@functools.lru_cache
def cached(x):
    return x


REFUSED = {
    "partial": (functools.partial(closed_over, 1), r"partial; register the function in it, test_interception\.closed_"),
    "generator": (generator, r"test_interception\.generator is a generator or a coroutine"),
    "coroutine": (coroutine, "generator or a coroutine"),
    "cache": (cached, "register that one, its __wrapped__"),
    "builtin": (len, r"built-in function len.*isn't written in Python"),
    "c-library": ("math.sqrt", "isn't written in Python"),
    "module": (nn.ReLU(), r"is a module; register its class, torch\.nn\.modules\.activation\.ReLU"),
    "no-module": (dict, r"builtins\.dict is a class, but none of modules"),
    "no-forward": (nn.Module, r"has no forward"),
    "inherited": (Inherits, r"Inherits has its forward from test_interception\.Scale: register"),
    "overloads": ("torch.ops.aten.relu", "name one of them: default"),
    "number": (3, "calls of 3 can't be intercepted"),
}


@pytest.mark.parametrize("target, message", REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_intercepted_is_refused(clean, target, message):
    with pytest.raises(ValueError, match=message):
        register(target, [])
