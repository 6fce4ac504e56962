import copy
import linecache
import threading

import pytest
import torch
import torch.nn.functional as F
from cases import Function
from torch import nn

import trtconv
from trtconv.capture import capture
from trtconv.emit import registry
from trtconv.inspect import compare


def write_to_view(x):
    y = x.clone()
    y[:, 0] = x[:, 1]
    return y


def add_to_chunk(x):
    x = x * 1
    first, _ = x.chunk(2, 1)
    first.add_(1)
    return x * 2


def fill_part_of_constant(x):
    z = torch.zeros(2, 4)
    z[:, 1:3] = x[:, :2]
    return z


def chain_of_views(x):
    x = x + 0
    view = x.view(4, 2).t()
    view[0].mul_(3)
    view += 1
    return x, view


def out_argument(x):
    result = torch.empty(2, 4)
    torch.add(x, 1, out=result)
    return result


def write_then_read_alias(x):
    a = x * 2
    b = a[0]
    a.relu_()
    return b + 1


@pytest.mark.parametrize(
    "function",
    [
        write_to_view,
        add_to_chunk,
        fill_part_of_constant,
        chain_of_views,
        out_argument,
        write_then_read_alias,
    ],
)
def test_writes_and_views_mean_what_they_mean_in_torch(function):
    """Captured calls, run by torch itself, give torch's own result."""
    module = Function(function)
    captured = capture(module, (torch.randn(2, 4),), {}, takes=registry.takes)
    x = torch.randn(2, 4)
    expected = function(x.clone())
    results = replay(captured.trace, [x])
    for result, want in zip(results, expected if isinstance(expected, tuple) else (expected,), strict=True):
        assert torch.equal(result, want)


def replay(trace, inputs):
    values = {id(fake): real for fake, real in zip(trace.inputs, inputs, strict=True)}

    def lookup(tensor):
        return values.get(id(tensor), tensor)

    from trtconv.capture.trace import map_tensors

    for call in trace.calls:
        args, kwargs = map_tensors(lookup, (call.args, call.kwargs))
        result = call.target(*args, **kwargs)
        for fake, real in zip(call.output_tensors(), [result] if torch.is_tensor(result) else result, strict=True):
            values[id(fake)] = real
    return [lookup(tensor) for tensor in trace.outputs]


def source_line(number):
    return linecache.getline(__file__, number)


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)
        self.register_buffer("table", torch.arange(4.0))

    def forward(self, x):
        return self.conv(x) + self.table.view(4, 1, 1)


def test_origins_name_module_file_and_line():
    module = nn.Sequential(Block(), nn.ReLU()).eval()
    trace = capture(module, (torch.randn(1, 3, 5, 5),), {}, takes=registry.takes).trace
    convolution, add, relu = trace.calls
    assert convolution.origin.module == "0.conv"
    assert convolution.origin.function == "torch.conv2d"
    assert convolution.origin.file == __file__
    assert "self.conv(x)" in source_line(convolution.origin.line)
    assert (add.origin.module, relu.origin.module) == ("0", "1")


def test_constants_are_computed_not_emitted():
    class Table(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(torch.randn(4, 4))

        def forward(self, x):
            mask = torch.ones(4, 4).triu(1).bool()
            return x + self.weight.exp().masked_fill(mask, 0.0).sum(0)

    trace = capture(Table().eval(), (torch.randn(2, 4),), {}, takes=registry.takes).trace
    assert [str(call.target) for call in trace.calls] == ["aten.add.Tensor"]


def test_python_may_read_constants():
    table = torch.tensor([2.0, 3.0])

    def function(x):
        if table.sum() > 4:
            x = x * table.max().item()
        return x * torch.tensor(table.tolist())[table.nonzero()[0]]

    trace = capture(Function(function), (torch.randn(2),), {}, takes=registry.takes).trace
    (result,) = replay(trace, [torch.ones(2)])
    assert torch.equal(result, function(torch.ones(2)))


@pytest.mark.parametrize(
    "function",
    [
        lambda x: x if x.sum() > 0 else -x,
        lambda x: x * x.max().item(),
        lambda x: x * x.tolist()[0][0],
        lambda x: torch.from_numpy(x.numpy()),
        lambda x: x * float(x[0, 0]),
        lambda x: x * int(x[0, 0]),
        lambda x: x[x.argmax()] if bool(x.any()) else x,
        lambda x: x[x > 0],
        lambda x: x.nonzero(),
    ],
    ids=["if", "item", "tolist", "numpy", "float", "int", "bool", "mask", "nonzero"],
)
def test_reading_values_names_the_line(function):
    with pytest.raises(trtconv.DataDependentError, match=r"test_capture\.py:\d+") as caught:
        trtconv.convert(Function(function), torch.randn(2, 4))
    line = int(str(caught.value).split("test_capture.py:")[1].split(":")[0].split(" ")[0])
    assert "lambda x" in source_line(line)


def test_values_can_be_declared_constant():
    def function(x):
        if x.sum() > 0:
            return x * 2
        return x * 3

    line = function.__code__.co_firstlineno + 1
    converted = trtconv.convert(Function(function), torch.randn(2), constant_values={f"test_capture.py:{line}": False})
    assert torch.equal(converted(torch.ones(2)), torch.ones(2) * 3)


def test_functions_may_take_constants_for_numbers():
    amounts = torch.tensor([1, 2])

    def function(x):
        return F.pad(x, (amounts[0], amounts.sum()), value=2.0)

    converted = trtconv.convert(Function(function), torch.randn(2, 4))
    x = torch.randn(2, 4)
    assert torch.equal(converted(x), function(x))
    with pytest.raises(trtconv.DataDependentError, match=r"test_capture\.py:\d+"):
        trtconv.convert(Function(lambda x, n: F.pad(x, (n, 1))), (x, torch.tensor(1)))


def test_code_is_told_that_it_is_captured():
    """As by torch.export, but other threads aren't."""
    seen = {}

    def ask(thread):
        seen[thread] = (torch.compiler.is_exporting(), torch.compiler.is_compiling())

    def function(x):
        ask("here")
        other = threading.Thread(target=ask, args=("other",))
        other.start()
        other.join()
        return x * 2 if torch.compiler.is_exporting() or x.all() else x

    originals = (torch.compiler.is_exporting, torch.compiler.is_compiling)
    trtconv.convert(Function(function), torch.randn(2))
    assert seen == {"here": (True, True), "other": (False, False)}
    assert originals == (torch.compiler.is_exporting, torch.compiler.is_compiling)
    ask("after")
    assert seen["after"] == (False, False)


def test_training_mode_is_refused():
    module = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Dropout(0.5))
    with pytest.raises(trtconv.CaptureError, match=r"(?s)training mode.*1: BatchNorm2d.*2: Dropout.*eval\(\)"):
        trtconv.convert(module, torch.randn(1, 3, 8, 8))
    trtconv.convert(nn.Sequential(nn.Linear(3, 3), nn.Dropout(0.0)), torch.randn(1, 3))


def test_writing_to_a_buffer_is_refused():
    class Counter(nn.Module):
        def __init__(self):
            super().__init__()
            self.register_buffer("count", torch.zeros(()))

        def forward(self, x):
            self.count += 1
            return x + self.count

    module = Counter().eval()
    with pytest.raises(trtconv.CaptureError, match="writes to count"):
        trtconv.convert(module, torch.randn(2))
    assert module.count == 0


class Replaces(nn.Module):
    """Puts another tensor in the place of its buffer before it uses it."""

    def __init__(self, function):
        super().__init__()
        self.function = function
        self.register_buffer("table", torch.zeros(1))

    def forward(self, x):
        table = self.table
        self.table = self.function(table, x)
        return x + self.table


def test_a_table_made_anew_for_other_sizes_is_no_state():
    module = Replaces(lambda table, x: torch.arange(4.0) if table.shape != x.shape else table)
    converted = trtconv.convert(module, torch.randn(4))
    assert torch.equal(module.table, torch.zeros(1))
    assert torch.equal(converted(torch.ones(4)), torch.ones(4) + torch.arange(4.0))


@pytest.mark.parametrize(
    "function",
    [
        lambda table, x: table + 1,
        lambda table, x: torch.arange(4.0) if table.item() == 0 else torch.zeros(4),
        lambda table, x: torch.ones(len(table.nonzero()), 4),
        lambda table, x: x.clone(),
        lambda table, x: x.add_(table).new_zeros(4),
    ],
    ids=["computed", "item", "nonzero", "input", "elsewhere"],
)
def test_state_in_the_place_of_a_buffer_is_refused(function):
    with pytest.raises(trtconv.CaptureError, match="writes to table"):
        trtconv.convert(Replaces(function), torch.randn(4))


def test_a_result_that_is_the_replaced_buffer_is_refused():
    class Gives(Replaces):
        def forward(self, x):
            before = self.table
            return super().forward(x), before

    with pytest.raises(trtconv.CaptureError, match="writes to table"):
        trtconv.convert(Gives(lambda table, x: torch.arange(4.0)), torch.randn(4))


@pytest.mark.parametrize(
    "function, words",
    [
        (lambda x: torch.allclose(x, x + 1), "Python reads its result"),
        (lambda x: x[x > 0].sum(), "elements that a mask picks"),
        (lambda x: x.nonzero().sum(), "size of the result"),
        (lambda x: F.ctc_loss(x, torch.ones(2, 3).long(), torch.tensor([5, 5]), torch.tensor([3, 3])), "alignments"),
    ],
)
def test_calls_that_depend_on_values_give_a_reason(function, words):
    with pytest.raises(trtconv.DataDependentError, match=words):
        trtconv.convert(Function(function), torch.randn(5, 2, 4))


def test_unsupported_calls_are_listed_at_once():
    def function(x):
        y = torch.igamma(x, x)
        z = torch.linalg.svd(x)[1]
        return y, z, torch.rand(3) + x[0], torch.igamma(x, x + 1)

    with pytest.raises(trtconv.UnsupportedCallsError) as caught:
        trtconv.convert(Function(function), torch.randn(3, 3))
    text = str(caught.value)
    names = ("igamma", "svd", "rand", "float32[3, 3]", "test_capture.py:", "tensorrt_converter", "2 calls")
    for name in (*names, "make the numbers an input", "special function"):
        assert name in text, text


def test_nothing_of_the_callers_is_changed():
    class Caches(nn.Module):
        def __init__(self):
            super().__init__()
            self.linear = nn.Linear(4, 4)
            self.cache = None
            self.tables, self.results = {"of": 2}, [1]

        def forward(self, x):
            self.cache = self.linear(x)
            self.extra = 1
            self.tables[x.device] = self.linear.weight[0]
            self.results.append(x)
            return self.cache

    module = Caches().eval()
    before = copy.deepcopy(module.state_dict())
    attributes = set(module.__dict__)
    x = torch.randn(2, 4)
    x_before = x.clone()
    relu, attention = torch.relu, torch.backends.mha.get_fastpath_enabled()
    trtconv.convert(module, [x])
    assert module.cache is None and set(module.__dict__) == attributes
    assert module.tables == {"of": 2} and module.results == [1]
    assert all(torch.equal(value, before[name]) for name, value in module.state_dict().items())
    assert all(type(p) is nn.Parameter and p.requires_grad for p in module.parameters())
    assert torch.equal(x, x_before)
    assert torch.relu is relu and torch.backends.mha.get_fastpath_enabled() is attention
    assert torch.is_grad_enabled()


def test_failed_conversions_leave_torch_as_it_was():
    with pytest.raises(trtconv.DataDependentError):
        trtconv.convert(Function(lambda x: x * x.sum().item()), torch.randn(2))
    assert type(torch.relu(torch.randn(2))) is torch.Tensor


def test_inputs_that_are_written_to():
    class Writes(nn.Module):
        def forward(self, x, y):
            x.add_(1)
            return x * y

    module = Writes()
    converted = trtconv.convert(module, (torch.randn(3), torch.randn(3)))
    x, y = torch.randn(3), torch.randn(3)
    expected_x = x.clone()
    expected = module(expected_x, y)
    assert torch.equal(converted(x, y), expected)
    assert torch.equal(x, expected_x)


def test_batch_norm_is_folded_only_where_nothing_else_reads_the_convolution():
    class Shares(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.bn = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)
            self.bn.running_mean.normal_()
            self.bn.running_var.uniform_(0.5, 2)

        def forward(self, x):
            y = self.conv(x)
            return self.bn(y) + y, F.relu(self.bn(self.conv(x + 1)))

    module = Shares().eval()
    converted = trtconv.convert(module, torch.randn(1, 3, 5, 5))
    types = [layer.type for layer in converted.network.layers]
    assert types.count("CONVOLUTION") == 2
    assert compare(module, converted, torch.randn(1, 3, 5, 5)).correct
    alone = nn.Sequential(module.conv, module.bn).eval()
    network = trtconv.convert(alone, torch.randn(1, 3, 5, 5)).network
    assert [layer.type for layer in network.layers] == ["CONVOLUTION"]


def test_constants_of_functions_that_check_values_are_computed():
    """torch checks that a matrix has an inverse in a call of its own, which has no result."""

    def function(x):
        matrix = torch.eye(4, dtype=x.dtype) * 2
        return x @ torch.linalg.inv(matrix) + torch.linalg.solve(matrix, matrix)[0]

    converted = trtconv.convert(Function(function), torch.randn(2, 4))
    assert compare(Function(function), converted, torch.randn(2, 4)).correct
