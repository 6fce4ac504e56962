"""Expressions of sizes as text: "s0 // 2 + 1"."""

from __future__ import annotations

import ast
import dataclasses
import functools
import operator
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import torch

Value: TypeAlias = Callable[[Mapping[str, Any]], Any]
"""Gives an expression's value for those of its names."""


@dataclasses.dataclass(frozen=True)
class Meaning:
    """What the parts of an expression stand for."""

    number: Callable[[int | float], Any]
    operators: Mapping[type[ast.operator], Callable[[Any, Any], Any]]
    functions: Mapping[str, Callable[..., Any]]


def compiled(text: str, meaning: Meaning | None = None) -> Value:
    """An expression as a function of its names' values: by default of numbers, or `torch.SymInt`.

    Raises:
        ValueError: it isn't one, or has parts that stand for nothing.
    """
    try:
        return _value(ast.parse(text, mode="eval").body, meaning or _NUMBERS)
    except (SyntaxError, KeyError, RecursionError) as error:
        raise ValueError(f"{text!r} is no size: {error!r}") from error


def renamed(text: str, names: Mapping[str, str]) -> str:
    """An expression with other names, which may be anything, and no more parentheses than it needs."""
    tree = ast.parse(text, mode="eval")
    for node in ast.walk(tree):
        if isinstance(node, ast.Name):
            node.id = names.get(node.id, node.id)
    return ast.unparse(tree)


def _value(node: ast.expr, meaning: Meaning) -> Value:
    match node:
        case ast.Constant(value=int() | float() as number):
            constant = meaning.number(number)
            return lambda names: constant
        case ast.Name(id=name):
            return lambda names: names[name]
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            negated = _value(operand, meaning)
            return lambda names: -negated(names)
        case ast.BinOp(left=left, op=op, right=right):
            function, first, second = meaning.operators[type(op)], _value(left, meaning), _value(right, meaning)
            return lambda names: function(first(names), second(names))
        case ast.Call(func=ast.Name(id=name), args=arguments, keywords=[]):
            called, values = meaning.functions[name], [_value(each, meaning) for each in arguments]
            return lambda names: called(*(each(names) for each in values))
    raise ValueError(f"{ast.dump(node)} is nothing that sizes are made of")


OPERATORS: Mapping[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
    ast.Pow: operator.pow,
}
_FUNCTIONS: Mapping[str, Callable[..., Any]] = {
    "Max": lambda *sizes: functools.reduce(torch.sym_max, sizes),
    "Min": lambda *sizes: functools.reduce(torch.sym_min, sizes),
    "Mod": operator.mod,
    "PythonMod": operator.mod,
}
_NUMBERS = Meaning(lambda number: number, OPERATORS, _FUNCTIONS)
