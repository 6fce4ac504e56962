"""When each layer runs: from the outputs back to the inputs, loops and branches as blocks of their own.

The order of a definition is not a topological one, and nothing in it says which layers are inside a
loop or a branch: that follows from the data flow. A layer is inside a loop when it depends on a
recurrence or an iterator of that loop, and inside a branch when nothing but that branch needs it.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from trtconv.graph.data import Graph, Layer
from trtconv.reference.dataflow import Dataflow, Node


@dataclass
class LayerStep:
    """Compute one layer."""

    layer: Layer
    release: list[str] = field(default_factory=list)


@dataclass
class LoopStep:
    """Repeat a block. ``condition`` holds what the WHILE trip limits need; it runs before each test."""

    name: str
    counts: list[str]
    whiles: list[str]
    recurrences: list[Layer]
    iterators: list[Layer]
    outputs: list[Layer]
    condition: Block
    body: Block
    release: list[str] = field(default_factory=list)


@dataclass
class ConditionalStep:
    """Run one of two blocks and take the outputs from it."""

    condition: str
    outputs: list[Layer]
    if_true: Block
    if_false: Block
    release: list[str] = field(default_factory=list)


Step = LayerStep | LoopStep | ConditionalStep
Block = list[Step]


@dataclass(eq=False)
class Scope:
    """A place where layers run: the whole network, a loop's body or a conditional's branch."""

    parent: Scope | None = None
    loop: str | None = None
    conditional: str | None = None
    branch: bool = False
    nodes: list[Node] = field(default_factory=list)

    def chain(self) -> list[Scope]:
        """This scope and those around it, the outermost first."""
        scopes: list[Scope] = []
        scope: Scope | None = self
        while scope is not None:
            scopes.append(scope)
            scope = scope.parent
        return scopes[::-1]


def schedule(graph: Graph) -> Block:
    """Order the layers that the graph's outputs and assertions need.

    Each step releases the tensors that nothing after it uses.

    Raises:
        ValueError: tensors depend on themselves outside a loop's recurrence, a tensor is used outside
            its loop, a loop has no trip limit or a recurrence no second input.
    """
    flow = Dataflow(graph)
    return _Placement(flow).block()


class _Placement:
    """Gives each node of the data flow its scope, from the outputs back."""

    def __init__(self, flow: Dataflow) -> None:
        self.flow = flow
        self.root = Scope()
        self.scopes: dict[Node, Scope] = {}
        self.bodies: dict[str, Scope] = {}
        self.branches: dict[tuple[str, bool], Scope] = {}
        self.uses: dict[str, list[Scope]] = {}
        self.construct_uses: dict[Node, list[Scope]] = {}
        for name in flow.graph.outputs:
            self._use(name, self.root)
        for node in reversed(flow.order):
            self._place(node)
        for node in flow.order:
            self.scopes[node].nodes.append(node)

    def block(self) -> Block:
        return self._block(self.root, keep=set(self.flow.graph.outputs))

    def _use(self, tensor: str | None, scope: Scope) -> None:
        if tensor is not None:
            self.uses.setdefault(tensor, []).append(scope)

    def _place(self, node: Node) -> None:
        if isinstance(node, str):
            scope = _common(self.construct_uses[node])
            self.scopes[node] = scope
            if node in self.flow.loops:
                self._place_loop(node, scope)
            else:
                self._place_conditional(node, scope)
            return
        layer = self.flow.graph.layers[node]
        if layer.type in ("RECURRENCE", "ITERATOR"):
            loop = layer.attributes["loop"]
            self.scopes[node] = self.bodies[loop]
            self._use(layer.inputs[0], self.scopes[loop])
            return
        scope = self._scope_of_layer(layer, self.flow.loops_of(node))
        self.scopes[node] = scope
        construct = self.flow.construct_of(layer)
        if construct is not None:
            self.construct_uses.setdefault(construct, []).append(scope)
            return
        for tensor in layer.inputs:
            self._use(tensor, scope)

    def _scope_of_layer(self, layer: Layer, needed: frozenset[str]) -> Scope:
        """The innermost scope that holds all uses, moved out of the loops that the layer ignores."""
        uses = [scope for tensor in layer.outputs for scope in self.uses.get(tensor, ())]
        if not uses:  # an assertion: it runs where its condition is known
            uses = [self.bodies[loop] for loop in needed] or [self.root]
            uses = [max(uses, key=lambda scope: len(scope.chain()))]
        chain = _common(uses).chain()
        known = {scope.loop for scope in chain}
        for loop in needed:
            if loop not in known:
                raise ValueError(f"{layer} is computed inside loop {loop!r} and used outside it without a loop output")
        innermost = max((i for i, scope in enumerate(chain) if scope.loop in needed), default=0)
        for i in range(innermost + 1, len(chain)):
            if chain[i].loop is not None:
                return chain[i - 1]
        return chain[-1]

    def _place_loop(self, name: str, scope: Scope) -> None:
        body = self.bodies[name] = Scope(scope, loop=name)
        loop = self.flow.loops[name]
        for tensor in loop.counts:
            self._use(tensor, scope)
        for tensor in loop.whiles:
            self._use(tensor, body)
        for layer in loop.recurrences:
            self._use(layer.inputs[1], body)
        for layer in loop.outputs:
            self._use(layer.inputs[0], body)
            self._use(layer.inputs[1] if len(layer.inputs) > 1 else None, scope)

    def _place_conditional(self, name: str, scope: Scope) -> None:
        conditional = self.flow.conditionals[name]
        self._use(conditional.condition, scope)
        for branch in (True, False):
            inside = Scope(scope, conditional=name, branch=branch)
            self.branches[name, branch] = inside
            for layer in conditional.outputs:
                self._use(layer.inputs[0 if branch else 1], inside)

    def _block(self, scope: Scope, keep: set[str]) -> Block:
        block: Block = []
        for node in scope.nodes:
            step = self._step(node)
            if step is not None:
                block.append(step)
        release(block, keep)
        return block

    def _step(self, node: Node) -> Step | None:
        if isinstance(node, str):
            return self._loop_step(node) if node in self.flow.loops else self._conditional_step(node)
        layer = self.flow.graph.layers[node]
        if layer.type in ("RECURRENCE", "ITERATOR", "LOOP_OUTPUT", "CONDITIONAL_OUTPUT"):
            return None
        return LayerStep(layer)

    def _loop_step(self, name: str) -> LoopStep:
        loop = self.flow.loops[name]
        scope = self.bodies[name]
        keep = {layer.inputs[1] for layer in loop.recurrences} | {layer.inputs[0] for layer in loop.outputs}
        condition, body = self._split(self._block(scope, set()), loop.whiles)
        kept = {tensor for tensor in keep if tensor is not None}
        release(condition, kept | set(loop.whiles) | used(body))
        release(body, kept)
        return LoopStep(
            name,
            loop.counts,
            loop.whiles,
            loop.recurrences,
            loop.iterators,
            loop.outputs,
            condition,
            body,
        )

    @staticmethod
    def _split(block: Block, wanted: list[str]) -> tuple[Block, Block]:
        """The steps that the wanted tensors need, and the rest; both in order."""
        needed = set(wanted)
        first: Block = []
        rest: Block = []
        for step in reversed(block):
            if needed.intersection(produced(step)):
                needed |= used([step])
                first.insert(0, step)
            else:
                rest.insert(0, step)
        return first, rest

    def _conditional_step(self, name: str) -> ConditionalStep:
        conditional = self.flow.conditionals[name]
        blocks = {}
        for branch in (True, False):
            keep = {layer.inputs[0 if branch else 1] for layer in conditional.outputs}
            scope = self.branches[name, branch]
            blocks[branch] = self._block(scope, {tensor for tensor in keep if tensor is not None})
        return ConditionalStep(conditional.condition, conditional.outputs, blocks[True], blocks[False])


def _common(scopes: list[Scope]) -> Scope:
    """The innermost scope around all of these."""
    first, *others = [scope.chain() for scope in scopes]
    for other in others:
        pairs = zip(first, other, strict=False)
        first = [scope for scope, counterpart in pairs if scope is counterpart]
    return first[-1]


def produced(step: Step) -> tuple[str, ...]:
    """Tensors that a step leaves to the steps after it."""
    if isinstance(step, LayerStep):
        return step.layer.outputs
    return tuple(layer.outputs[0] for layer in step.outputs)


def used(block: Block) -> set[str]:
    """Tensors that the steps of a block read, in blocks inside it too."""
    names: set[str | None] = set()
    for step in block:
        if isinstance(step, LayerStep):
            names.update(step.layer.inputs)
        elif isinstance(step, LoopStep):
            names.update(step.counts, step.whiles, used(step.condition), used(step.body))
            for layer in (*step.recurrences, *step.iterators, *step.outputs):
                names.update(layer.inputs)
        else:
            names.update((step.condition,), used(step.if_true), used(step.if_false))
            for layer in step.outputs:
                names.update(layer.inputs)
    return {name for name in names if name is not None}


def release(block: Block, keep: set[str]) -> None:
    """Let each step of a block release the tensors made in the block that no later step reads."""
    owned = {name for step in block for name in produced(step)} - keep
    for step in reversed(block):
        last = owned.intersection((*used([step]), *produced(step)))
        step.release = sorted(last)
        owned -= last
