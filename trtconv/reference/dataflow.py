"""Which layers a network's outputs need, in what order, and which of them depend on a loop's state."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from trtconv.graph.data import Graph, Layer

# A layer's index, or the name of a loop or a conditional as a whole.
Node = int | str


@dataclass
class Loop:
    """The boundary layers of a loop that are needed, and the tensors that limit its trips."""

    counts: list[str] = field(default_factory=list)
    whiles: list[str] = field(default_factory=list)
    recurrences: list[Layer] = field(default_factory=list)
    iterators: list[Layer] = field(default_factory=list)
    outputs: list[Layer] = field(default_factory=list)

    def inputs_at_end(self) -> Iterator[str]:
        """Tensors that must be known before the loop as a whole is done."""
        yield from self.counts
        yield from self.whiles
        for layer in self.recurrences:
            yield from _present(layer.inputs[1:])
        for layer in self.outputs:
            yield from _present(layer.inputs)


@dataclass
class Conditional:
    """A conditional's condition and those of its output layers that are needed."""

    condition: str
    outputs: list[Layer] = field(default_factory=list)

    def inputs(self) -> Iterator[str]:
        """The condition and both branches' results."""
        yield self.condition
        for layer in self.outputs:
            yield from _present(layer.inputs)


class Dataflow:
    """The needed part of a graph in topological order.

    ``order`` lists layers by index, and each loop and conditional by name after all that is inside it.
    A recurrence's second input is the one back edge: it counts as an input of the loop, not of the
    recurrence.
    """

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.loops: dict[str, Loop] = {}
        self.conditionals: dict[str, Conditional] = {}
        self._producers = {name: i for i, layer in enumerate(graph.layers) for name in layer.outputs}
        self._limits: dict[str, list[Layer]] = {}
        self._conditions: dict[str, str] = {}
        for layer in graph.layers:
            if layer.type == "TRIP_LIMIT":
                self._limits.setdefault(layer.attributes["loop"], []).append(layer)
            elif layer.type == "CONDITION" and layer.inputs[0] is not None:
                self._conditions[layer.attributes["conditional"]] = layer.inputs[0]
        known = {*self._producers, *graph.inputs}
        missing = [name for name in graph.outputs if name not in known]
        if missing:
            raise ValueError(f"network outputs {missing} are made by no layer")
        self._collect()
        self._depends = self._loop_dependence()
        self._assertions = self._runnable_assertions()
        self.order = self._topological()

    def construct_of(self, layer: Layer) -> str | None:
        """The loop or conditional that an output layer ends."""
        if layer.type == "LOOP_OUTPUT":
            return str(layer.attributes["loop"])
        if layer.type == "CONDITIONAL_OUTPUT":
            return str(layer.attributes["conditional"])
        return None

    def loops_of(self, index: int) -> frozenset[str]:
        """Loops whose state the layer of this index depends on."""
        return self._depends.get(index, frozenset())

    def _collect(self) -> None:
        """Find the needed layers, back edges included, and group those that bound a construct."""
        pending = [self._producers[name] for name in self.graph.outputs if name in self._producers]
        pending.extend(i for i, layer in enumerate(self.graph.layers) if layer.type == "ASSERTION")
        self.needed: set[int] = set()
        while pending:
            index = pending.pop()
            if index in self.needed:
                continue
            self.needed.add(index)
            layer = self.graph.layers[index]
            names = [*_present(layer.inputs), *self._join(layer)]
            for name in names:
                if name in self._producers:
                    pending.append(self._producers[name])
                elif name not in self.graph.inputs:
                    raise ValueError(f"{layer} reads tensor {name!r}, which no layer makes")

    def _join(self, layer: Layer) -> list[str]:
        """Note a boundary layer with its construct; the tensors that the construct needs besides."""
        if layer.type in ("RECURRENCE", "ITERATOR", "LOOP_OUTPUT"):
            name = layer.attributes["loop"]
            if name not in self.loops:
                self.loops[name] = self._new_loop(name)
            loop = self.loops[name]
            if layer.type == "RECURRENCE":
                if len(layer.inputs) < 2 or layer.inputs[1] is None:
                    raise ValueError(f"{layer} of loop {name!r} has no second input, its next value")
                loop.recurrences.append(layer)
            elif layer.type == "ITERATOR":
                loop.iterators.append(layer)
            else:
                loop.outputs.append(layer)
            return [*loop.counts, *loop.whiles]
        if layer.type == "CONDITIONAL_OUTPUT":
            name = layer.attributes["conditional"]
            if name not in self._conditions:
                raise ValueError(f"conditional {name!r} has no condition")
            conditional = self.conditionals.setdefault(name, Conditional(self._conditions[name]))
            conditional.outputs.append(layer)
            return [conditional.condition]
        return []

    def _new_loop(self, name: str) -> Loop:
        loop = Loop()
        for layer in self._limits.get(name, ()):
            target = loop.counts if layer.attributes["kind"] == "COUNT" else loop.whiles
            target.extend(_present(layer.inputs))
        if not loop.counts and not loop.whiles:
            raise ValueError(f"loop {name!r} has no trip limit and would never end")
        return loop

    def _loop_dependence(self) -> dict[int, frozenset[str]]:
        """For each needed layer the loops whose recurrences or iterators it depends on.

        Found by repeating until nothing changes, since a loop may depend on the one around it through a
        back edge.
        """
        depends: dict[int, frozenset[str]] = {}
        if not self.loops:
            return depends

        def of(names: Iterator[str] | list[str]) -> frozenset[str]:
            indices = (self._producers[name] for name in names if name in self._producers)
            return frozenset().union(*(depends.get(index, frozenset()) for index in indices))

        around = {name: frozenset[str]() for name in self.loops}
        changed = True
        while changed:
            before = (dict(depends), dict(around))
            for name, loop in self.loops.items():
                starts = [
                    tensor for layer in (*loop.recurrences, *loop.iterators) for tensor in _present(layer.inputs[:1])
                ]
                around[name] = (of(loop.inputs_at_end()) | of(starts)) - {name}
            for index in sorted(self.needed):
                layer = self.graph.layers[index]
                if layer.type in ("RECURRENCE", "ITERATOR"):
                    name = layer.attributes["loop"]
                    depends[index] = around[name] | {name}
                elif layer.type == "LOOP_OUTPUT":
                    depends[index] = around[layer.attributes["loop"]]
                else:
                    construct = self.construct_of(layer)
                    depends[index] = of(
                        _present(layer.inputs) if construct is None else self.conditionals[construct].inputs()
                    )
            changed = before != (depends, around)
        return depends

    def _runnable_assertions(self) -> list[int]:
        """Assertions on what is computed anyway, outside conditionals.

        Nothing says to which branch of a conditional an assertion inside it would belong.
        """
        return [
            index
            for index in sorted(self.needed)
            if self.graph.layers[index].type == "ASSERTION"
            and all(self.loops[name].outputs for name in self._depends.get(index, ()))
            and not self._inside_branch(index)
        ]

    def _inside_branch(self, index: int) -> bool:
        pending, seen = [index], {index}
        while pending:
            layer = self.graph.layers[pending.pop()]
            if layer.type == "CONDITIONAL_INPUT":
                return True
            if layer.type != "CONDITIONAL_OUTPUT":
                makers = {self._producers[name] for name in _present(layer.inputs) if name in self._producers}
                pending.extend(makers - seen)
                seen |= makers
        return False

    def _inputs(self, node: Node) -> Iterator[str]:
        if isinstance(node, str):
            if node in self.loops:
                return self.loops[node].inputs_at_end()
            return self.conditionals[node].inputs()
        layer = self.graph.layers[node]
        return _present(layer.inputs[:1] if layer.type == "RECURRENCE" else layer.inputs)

    def _before(self, node: Node) -> list[Node]:
        if not isinstance(node, str):
            construct = self.construct_of(self.graph.layers[node])
            if construct is not None:
                return [construct]
        before: list[Node] = [self._producers[name] for name in self._inputs(node) if name in self._producers]
        if node in self.loops:  # so that an assertion inside a loop is placed after the loop's body exists
            before.extend(index for index in self._assertions if node in self.loops_of(index))
        return before

    def _topological(self) -> list[Node]:
        """Depth first from the outputs, on a stack of our own: networks are deeper than Python's."""
        order: list[Node] = []
        done: set[Node] = set()
        open_nodes: set[Node] = set()
        roots: list[Node] = [self._producers[name] for name in self.graph.outputs if name in self._producers]
        stack: list[tuple[Node, Iterator[Node]]] = []
        for root in [*roots, *self._assertions]:
            if root in done:
                continue
            stack.append((root, iter(self._before(root))))
            open_nodes.add(root)
            while stack:
                node, remaining = stack[-1]
                following = next((other for other in remaining if other not in done), None)
                if following is None:
                    stack.pop()
                    open_nodes.discard(node)
                    done.add(node)
                    order.append(node)
                elif following in open_nodes:
                    raise ValueError(self._cycle([other for other, _ in stack], following))
                else:
                    stack.append((following, iter(self._before(following))))
                    open_nodes.add(following)
        return order

    def _cycle(self, path: list[Node], start: Node) -> str:
        names = [node if isinstance(node, str) else str(self.graph.layers[node]) for node in path[path.index(start) :]]
        return "layers depend on themselves outside a loop's recurrence: " + " <- ".join(names)


def _present(names: tuple[str | None, ...]) -> Iterator[str]:
    return (name for name in names if name is not None)
