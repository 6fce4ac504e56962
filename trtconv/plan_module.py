"""What a converted module holds, and how it is saved, loaded, copied and moved."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from trtconv.graph import Graph
from trtconv.options import check_save
from trtconv.plan import Plan, from_module_state
from trtconv.runtime import State


class PlanModule(torch.nn.Module):
    """A plan, and buffers for the state that its calls read and write.

    Args:
        save: As for `trtconv.TRTModule`.
    """

    def __init__(self, save: str = "all") -> None:
        super().__init__()
        check_save(save)
        self._save = save
        self.plan: Plan | None = None
        self._state: State | None = None

    def _loaded_plan(self) -> Plan:
        if self.plan is None:
            raise RuntimeError("this TRTModule is empty; load a state dict into it: m.load_state_dict(...)")
        return self.plan

    @property
    def network(self) -> Graph | None:
        """The network as plain data, as the reference interpreter runs it; None if it wasn't kept.

        It has weights of its own.

        Raises:
            ValueError: the plan has several networks; they are in `plan.segments`.
        """
        segments = self._loaded_plan().segments
        if len(segments) != 1:
            raise ValueError(f"the plan has {len(segments)} networks; they are in plan.segments")
        return segments[0].graph

    # -- state ----------------------------------------------------------------------------------

    def reset_state(self) -> None:
        """Give the buffers that calls write to what they held at the conversion, or when the module was saved."""
        if self._state is not None:
            self._state.fill(self._loaded_plan().state)

    def put_state(self, contents: Mapping[str, torch.Tensor]) -> None:
        """Give the buffers that calls write to new contents, and put them where those are, by their names."""
        if self._state is not None:
            self._state.apply(lambda buffer: buffer.to(next(iter(contents.values())).device))
            self._state.fill(contents)

    def _set_plan(self, plan: Plan | None, *, keeps_state: bool = False) -> None:
        self.plan = plan
        specs = () if plan is None else plan.signature.state
        if self._state is not None:
            self._state.remove_from(self, but=specs)
        self._state = State(self, specs, None if keeps_state or plan is None else plan.state) if specs else None

    # -- saving and loading ---------------------------------------------------------------------

    def _save_to_state_dict(self, destination: dict[str, Any], prefix: str, keep_vars: bool) -> None:
        if self.plan is not None:
            state = self.plan.to_state(engines=self._save == "all")
            destination.update({prefix + name: value for name, value in state.items()})
            super()._save_to_state_dict(destination, prefix, keep_vars)

    def _load_from_state_dict(
        self,
        state_dict: Mapping[str, Any],
        prefix: str,
        local_metadata: Mapping[str, Any],
        strict: bool,
        missing_keys: list[str],
        unexpected_keys: list[str],
        error_msgs: list[str],
    ) -> None:
        copies = not local_metadata.get("assign_to_params_buffers", False)
        plan = from_module_state(
            state_dict, prefix, copies, missing_keys, unexpected_keys if strict else [], error_msgs
        )
        if plan is not None:
            self._set_plan(plan)

    def __getstate__(self) -> dict[str, Any]:
        # Copies and pickles take the plan; contexts, graphs and locks belong to their process.
        return {name: value for name, value in self.__dict__.items() if name not in _OF_THE_PROCESS}

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__({**state, "_state": None})  # type: ignore[no-untyped-call]  # torch leaves it untyped
        self._set_plan(state["plan"], keeps_state=True)

    def _replicate_for_data_parallel(self) -> PlanModule:
        if self._state is not None:
            raise RuntimeError(
                "a converted module with state can't be replicated for a call: what the replicas write would be lost. "
                "Make a copy.deepcopy of it for each GPU, which keeps a state of its own"
            )
        return super()._replicate_for_data_parallel()  # type: ignore[no-untyped-call, no-any-return]  # torch leaves it so


_OF_THE_PROCESS = ("_loading", "_sessions", "_calls", "_forms", "_number", "_state", "forward")
