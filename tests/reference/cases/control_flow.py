"""Loops and conditionals, and ASSERTION."""

import torch

from trtconv import tensorrt as trt

from ..case import FLOATS, Case, uniform

INT32 = torch.int32
SUM, PROD, LESS = (getattr(trt.ElementWiseOperation, name) for name in ("SUM", "PROD", "LESS"))
COUNT, WHILE = trt.TripLimit.COUNT, trt.TripLimit.WHILE
OUTPUTS = trt.LoopOutput


def number(net, value, dtype=INT32):
    return net.constant(torch.tensor(value, dtype=dtype))


def add(net, a, b, operation=SUM):
    return net.add_elementwise(a, b, operation).get_output(0)


def running_sum(net, x, count=3, kinds=("LAST_VALUE",), axis=0, reverse=False):
    """Sum of the slices of x, with the sums so far as outputs of the given kinds."""
    loop = net.add_loop()
    trips = number(net, count) if isinstance(count, int) else count
    loop.add_trip_limit(trips, COUNT)
    item = loop.add_iterator(x, axis, reverse)
    state = loop.add_recurrence(net.constant(torch.zeros(4), net.dtype))
    total = add(net, state.get_output(0), item.get_output(0))
    state.set_input(1, total)
    outputs = []
    for kind in kinds:
        if kind == "LAST_VALUE":
            outputs.append(loop.add_loop_output(state.get_output(0), OUTPUTS.LAST_VALUE))
        else:
            outputs.append(loop.add_loop_output(total, getattr(OUTPUTS, kind)))
            outputs[-1].set_input(1, trips)
    return outputs


def concatenated_on_last(net, x):
    loop = net.add_loop()
    trips = number(net, 3)
    loop.add_trip_limit(trips, COUNT)
    item = loop.add_iterator(x)
    output = loop.add_loop_output(add(net, item.get_output(0), item.get_output(0)), OUTPUTS.CONCATENATE, 1)
    output.set_input(1, trips)
    return output


def doubled_while_small(net, x, limited=False):
    """Double x while its sum is below 100; the condition is tested before the first iteration too."""
    loop = net.add_loop()
    state = loop.add_recurrence(x)
    total = net.add_reduce(state.get_output(0), trt.ReduceOperation.SUM, 1, False).get_output(0)
    loop.add_trip_limit(add(net, total, number(net, 100.0, torch.float32), LESS), WHILE)
    if limited:
        loop.add_trip_limit(number(net, 2), COUNT)
    state.set_input(1, add(net, state.get_output(0), state.get_output(0)))
    return loop.add_loop_output(state.get_output(0), OUTPUTS.LAST_VALUE)


def nested(net, x):
    """sum over i of (i-th row of x) times the product of its elements' own loop: two levels."""
    outer = net.add_loop()
    outer.add_trip_limit(number(net, 3), COUNT)
    row = outer.add_iterator(x).get_output(0)
    total = outer.add_recurrence(net.constant(torch.zeros(4), net.dtype))
    inner = net.add_loop()
    inner.add_trip_limit(number(net, 4), COUNT)
    element = inner.add_iterator(row).get_output(0)
    product = inner.add_recurrence(net.constant(torch.ones(()), net.dtype))
    product.set_input(1, add(net, product.get_output(0), element, PROD))
    scalar = inner.add_loop_output(product.get_output(0), OUTPUTS.LAST_VALUE).get_output(0)
    one = net.add_shuffle(scalar)
    one.reshape_dims = (1,)
    total.set_input(1, add(net, total.get_output(0), add(net, row, one.get_output(0), PROD)))
    return outer.add_loop_output(total.get_output(0), OUTPUTS.LAST_VALUE)


def fibonacci(net):
    """Two recurrences that exchange values: both must be updated at once."""
    loop = net.add_loop()
    loop.add_trip_limit(number(net, 10), COUNT)
    a, b = loop.add_recurrence(number(net, 0)), loop.add_recurrence(number(net, 1))
    a.set_input(1, b.get_output(0))
    b.set_input(1, add(net, a.get_output(0), b.get_output(0)))
    return [loop.add_loop_output(r.get_output(0), OUTPUTS.LAST_VALUE) for r in (a, b)]


def trips_from_shape(net, x):
    """As many trips as x has rows, known when it runs."""
    shape = net.add_shape(x).get_output(0)
    rows = net.add_gather(shape, net.constant(torch.tensor(0, dtype=INT32)), 0).get_output(0)
    return running_sum(net, x, rows, ("LAST_VALUE", "CONCATENATE"))


def conditional(net, condition, x):
    """exp(x) or x[:, :2], of different shapes."""
    construct = net.add_if_conditional()
    construct.set_condition(condition)
    inside = construct.add_input(x).get_output(0)
    then = net.add_unary(inside, trt.UnaryOperation.EXP).get_output(0)
    other = net.add_slice(inside, (0, 0), (2, 2), (1, 1)).get_output(0)
    return construct.add_output(then, other)


def two_outputs(net, condition, x):
    """Two outputs whose first branches share a layer; the second branches differ."""
    construct = net.add_if_conditional()
    construct.set_condition(condition)
    inside = construct.add_input(x).get_output(0)
    shared = net.add_unary(inside, trt.UnaryOperation.EXP).get_output(0)
    negative = net.add_unary(inside, trt.UnaryOperation.NEG).get_output(0)
    return construct.add_output(shared, inside), construct.add_output(add(net, shared, shared), negative)


def nested_branches(net, outer, inner, x):
    """x, -x or exp(x)."""
    first, second = net.add_if_conditional(), net.add_if_conditional()
    first.set_condition(outer)
    outside = first.add_input(x).get_output(0)
    second.set_condition(first.add_input(inner).get_output(0))
    inside = second.add_input(outside).get_output(0)
    negative = net.add_unary(inside, trt.UnaryOperation.NEG).get_output(0)
    power = net.add_unary(inside, trt.UnaryOperation.EXP).get_output(0)
    chosen = second.add_output(negative, power).get_output(0)
    return first.add_output(chosen, outside)


def loop_in_branch(net, condition, x):
    construct = net.add_if_conditional()
    construct.set_condition(condition)
    inside = construct.add_input(x).get_output(0)
    then = running_sum(net, inside)[0].get_output(0)
    other = net.add_reduce(inside, trt.ReduceOperation.MAX, 1, False).get_output(0)
    return construct.add_output(then, other)


def branch_in_loop(net, x):
    """Add the rows whose sum is positive, subtract the others."""
    loop = net.add_loop()
    loop.add_trip_limit(number(net, 3), COUNT)
    row = loop.add_iterator(x).get_output(0)
    total = loop.add_recurrence(net.constant(torch.zeros(4), net.dtype))
    row_sum = net.add_reduce(row, trt.ReduceOperation.SUM, 1, False).get_output(0)
    zero = net.constant(torch.zeros(()), net.dtype)
    construct = net.add_if_conditional()
    construct.set_condition(net.add_elementwise(row_sum, zero, trt.ElementWiseOperation.GREATER).get_output(0))
    inside, so_far = (construct.add_input(t).get_output(0) for t in (row, total.get_output(0)))
    then = add(net, so_far, inside)
    other = add(net, so_far, inside, trt.ElementWiseOperation.SUB)
    total.set_input(1, construct.add_output(then, other).get_output(0))
    return loop.add_loop_output(total.get_output(0), OUTPUTS.LAST_VALUE)


def asserted(net, x):
    shape = net.add_shape(x).get_output(0)
    rows = net.add_slice(shape, (0,), (1,), (1,)).get_output(0)
    fine = net.add_elementwise(rows, number(net, [9], torch.int64), LESS).get_output(0)
    net.add_assertion(fine, "fewer than nine rows")
    return net.add_unary(x, trt.UnaryOperation.ABS)


def products(x):
    return sum(row * row.prod() for row in x)


def signed_rows(x):
    total = torch.zeros_like(x[0])
    for row in x:
        total = total + row if row.sum() > 0 else total - row
    return total


X = uniform(3, 4, low=-1, high=1)
TRUE, FALSE = torch.tensor(True), torch.tensor(False)
CASES = [
    Case("loop-sum", running_sum, lambda x: x.sum(0), (X,), FLOATS, steps=3.0),
    Case(
        "loop-concatenate",
        lambda net, x: running_sum(net, x, 3, ("CONCATENATE", "REVERSE", "LAST_VALUE")),
        lambda x: (x.cumsum(0), x.cumsum(0).flip(0), x.sum(0)),
        (X,),
        FLOATS,
        steps=3.0,
    ),
    Case(
        "loop-columns",
        lambda net, x: running_sum(net, x, 3, ("CONCATENATE",), 1),
        lambda x: x.T.cumsum(0),
        (uniform(4, 3),),
        steps=3.0,
        dynamic=False,
    ),
    Case(
        "loop-reverse-iterator",
        lambda net, x: running_sum(net, x, 2, ("CONCATENATE",), 0, True),
        lambda x: torch.stack((x[1], x[0] + x[1])),
        (X,),
        engine=False,  # TensorRT-RTX takes the trip count for the tensor's size
    ),
    Case(
        "loop-reverse-iterator-all",
        lambda net, x: running_sum(net, x, 3, ("CONCATENATE",), 0, True),
        lambda x: x.flip(0).cumsum(0),
        (X,),
        steps=3.0,
    ),
    Case("loop-concatenate-axis", concatenated_on_last, lambda x: 2 * x.T, (X,)),
    Case("loop-while", doubled_while_small, lambda x: x * 16, (torch.tensor([1.0, 2.0, 4.0]),)),
    Case("loop-while-never", doubled_while_small, lambda x: x, (torch.tensor([70.0, 80.0]),)),
    Case(
        "loop-while-count",
        lambda net, x: doubled_while_small(net, x, True),
        lambda x: x * 4,
        (torch.tensor([1.0, 2.0, 4.0]),),
    ),
    Case("loop-nested", nested, products, (X,), steps=3.0),
    Case("loop-fibonacci", fibonacci, lambda: (torch.tensor(55).int(), torch.tensor(89).int()), (), (INT32,)),
    Case("loop-trips-from-shape", trips_from_shape, lambda x: (x.sum(0), x.cumsum(0)), (X,), steps=3.0),
    Case("if-true", conditional, lambda c, x: torch.exp(x), (TRUE, uniform(2, 3)), dynamic=False),
    Case("if-false", conditional, lambda c, x: x[:, :2], (FALSE, uniform(2, 3)), dynamic=False),
    Case("if-two-true", two_outputs, lambda c, x: (x.exp(), 2 * x.exp()), (TRUE, X), dynamic=False),
    Case("if-two-false", two_outputs, lambda c, x: (x, -x), (FALSE, X), dynamic=False),
    Case("if-nested-1", nested_branches, lambda a, b, x: -x, (TRUE, TRUE, X), dynamic=False),
    Case("if-nested-2", nested_branches, lambda a, b, x: x.exp(), (TRUE, FALSE, X), dynamic=False),
    Case("if-nested-3", nested_branches, lambda a, b, x: x, (FALSE, TRUE, X), dynamic=False),
    Case("if-loop-true", loop_in_branch, lambda c, x: x.sum(0), (TRUE, X), dynamic=False, steps=3.0),
    Case("if-loop-false", loop_in_branch, lambda c, x: x.amax(0), (FALSE, X), dynamic=False),
    Case("loop-if", branch_in_loop, signed_rows, (uniform(3, 4),), steps=3.0),
    Case("assertion", asserted, torch.abs, (uniform(3, 4),)),
]
