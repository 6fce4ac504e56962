"""MATRIX_MULTIPLY and EINSUM."""

import torch

from trtconv import tensorrt as trt

from ..case import FLOATS, Case, uniform


def product(name, left, left_op, right, right_op, expected, dtypes=(torch.float32,)):
    def build(net, a, b):
        operations = trt.MatrixOperation
        return net.add_matrix_multiply(a, getattr(operations, left_op), b, getattr(operations, right_op))

    return Case(f"matrix-{name}", build, expected, (uniform(*left), uniform(*right)), dtypes)


def einsum(equation, *shapes, dtypes=(torch.float32,)):
    def build(net, *tensors):
        return net.add_einsum(list(tensors), equation)

    return Case(
        f"einsum-{equation}",
        build,
        lambda *values: torch.einsum(equation, *values),
        tuple(uniform(*shape) for shape in shapes),
        dtypes,
        steps=4.0,
    )


CASES = [
    product("nn", (3, 4), "NONE", (4, 5), "NONE", torch.matmul, FLOATS),
    product("nt", (3, 4), "NONE", (5, 4), "TRANSPOSE", lambda a, b: a @ b.T, FLOATS),
    product("tn", (4, 3), "TRANSPOSE", (4, 5), "NONE", lambda a, b: a.T @ b),
    product("batched", (2, 3, 4), "NONE", (2, 4, 5), "NONE", torch.matmul, FLOATS),
    product("broadcast", (2, 1, 3, 4), "NONE", (1, 6, 4, 5), "NONE", torch.matmul),
    product("vector-left", (4,), "VECTOR", (4, 5), "NONE", torch.matmul),
    product("vector-right", (3, 4), "NONE", (4,), "VECTOR", torch.matmul),
    product("vectors", (4,), "VECTOR", (4,), "VECTOR", torch.dot),
    product(
        "vector-batched",
        (2, 4),
        "VECTOR",
        (2, 4, 5),
        "NONE",
        lambda a, b: torch.stack([a[0] @ b[0], a[1] @ b[1]]),
    ),
    einsum("ij,jk->ik", (3, 4), (4, 5), dtypes=FLOATS),
    einsum("bij,bjk->bik", (2, 3, 4), (2, 4, 5)),
    einsum("ij,jk", (3, 4), (4, 5)),
    einsum("ii->i", (4, 4)),
    einsum("i,j->ij", (4,), (3,)),
    einsum("ij->", (4, 3)),
    einsum("ij->ji", (4, 3)),
    einsum("bhid,bhjd->bhij", (2, 3, 4, 5), (2, 3, 6, 5)),
    einsum("ij,jk,kl->il", (3, 4), (4, 5), (5, 2)),
    einsum("...ij,...jk->...ik", (2, 3, 4), (2, 4, 5)),
]
