"""VIN: value iteration network."""

from typing import Any

from flax import nnx

from jplan._checks import check_sizes
from jplan._typing import Array, Padding
from jplan.fixed_points import AbstractAdjoint, Solver, Truncated
from jplan.nn import (
    BellmanInputs,
    KernelMapper,
    MaxBellmanCell,
    RewardMapper,
    TransitionKernel,
)
from jplan.planners._planner import (
    AbstractMapPlanner,
    PlannerOutput,
    check_maps,
    iterate,
    resolve_solver,
)

_CACHE = 2**22
"""Bytes of action values up to which an iteration stays in a CPU's cache."""


class VIN(AbstractMapPlanner):
    """Value iteration network.

    A network gives each cell a reward; value iteration with learnt kernels follows; a linear policy
    reads the action values of the agent's cell as advantages, ``Q - max Q``, which do not depend on
    how far the goal is. That policy is the same at every cell, so ``solve`` gives the logits of all
    of them, and ``logits[..., y, x, :]`` is the attention of the paper.

    Args:
      actions: number of actions A.
      channels: channels of the maps.
      q_channels: number of action channels Q of the iteration.
      hidden: width of the reward network.
      kernel_size: odd; of all convolutions.
      max_steps: budget of the iteration; information travels ``(kernel_size - 1) / 2`` cells a
        step. None takes that of the solver.
      discount: of the value, in (0, 1].
      adjoint: how the iteration is differentiated; None is ``Truncated(15)``, whose cost does not
        grow with ``max_steps``.
      solver: None is Picard with ``max_steps``, 30 if that is None too.
      observed_kernel: static; add a kernel that depends on the map, the function f_P of the paper.
      padding: static; "zero" for maps that end at their edges, "wrap" for tori.
      forward_mode: static; use operations that have jvp and Hessians, see
        `jplan.nn.MaxBellmanCell`.
      rngs: for the initial parameters.

    Raises:
      ValueError: if a size or the discount is out of range, the kernel is even, the padding
        unknown, or solver and ``max_steps`` disagree.

    Attributes:
      mapper: `jplan.nn.RewardMapper`, or any module from [H, W, C] to rewards [H, W].
      kernel_mapper: `jplan.nn.KernelMapper`, or any module from [H, W, C] to [K, K, 2, Q]; None
        without ``observed_kernel``.
      kernel: `jplan.nn.TransitionKernel`, or any module that makes [K, K, 2, Q] from no arguments,
        and with ``observed_kernel`` also from an offset.
      readout: the policy, any module from advantages ``Q - max Q`` [..., Q] to logits [..., A].

    Example:
      >>> import jax.numpy as jnp
      >>> planner = VIN(4, 2, q_channels=10, hidden=16, max_steps=20, rngs=nnx.Rngs(0))
      >>> planner(jnp.ones((5, 9, 9, 2))).shape
      (5, 9, 9, 4)

    References:
      Tamar et al., Value iteration networks, 2016, section 4.
      Zhao, Xu and Wong, Scaling up and stabilizing differentiable planning with implicit
      differentiation, 2023, section 4: VIN trained through ``Unroll``, ID-VIN through ``Implicit``.

    Note:
      The papers' kernel of the value is free and their policy reads ``Q``; here the kernel is a
      discounted softmax, so that no iteration grows without bound, and the policy reads advantages.
    """

    def __init__(
        self,
        actions: int,
        channels: int,
        *,
        q_channels: int = 100,
        hidden: int = 150,
        kernel_size: int = 3,
        max_steps: int | None = None,
        discount: float = 0.99,
        adjoint: AbstractAdjoint | None = None,
        solver: Solver | None = None,
        observed_kernel: bool = False,
        padding: Padding = "zero",
        forward_mode: bool = False,
        rngs: nnx.Rngs,
    ) -> None:
        check_sizes(
            actions=actions,
            channels=channels,
            q_channels=q_channels,
            hidden=hidden,
            max_steps=max_steps,
        )
        self.actions = actions
        self.channels = channels
        self.q_channels = q_channels
        self.hidden = hidden
        self.kernel_size = kernel_size
        self.discount = discount
        self.observed_kernel = observed_kernel
        self.padding: Padding = padding
        self.forward_mode = forward_mode
        self.adjoint = nnx.static(Truncated(15) if adjoint is None else adjoint)
        self.solver = nnx.static(resolve_solver(solver, max_steps))
        self.max_steps = self.solver.max_steps
        self.kernel = TransitionKernel(
            q_channels, kernel_size=kernel_size, discount=discount, rngs=rngs
        )
        options: dict[str, Any] = {"hidden": hidden, "kernel_size": kernel_size}
        options |= {"padding": padding, "forward_mode": forward_mode}
        self.mapper = RewardMapper(channels, **options, rngs=rngs)
        shape = (kernel_size, kernel_size, 2, q_channels)
        self.kernel_mapper = (
            KernelMapper(channels, shape, **options, rngs=rngs) if observed_kernel else None
        )
        self.readout = nnx.Linear(q_channels, actions, use_bias=False, param_dtype=float, rngs=rngs)

    def solve(
        self,
        maps: Array,
        *,
        solver: Solver | None = None,
        adjoint: AbstractAdjoint | None = None,
        num_steps: Any = None,
    ) -> PlannerOutput:
        """See `AbstractMapPlanner.solve`; the value is that of the iteration, V."""
        check_maps(maps, self.channels, kernel_size=self.kernel_size)

        cell = MaxBellmanCell(self.kernel(), padding=self.padding, forward_mode=self.forward_mode)

        def prepare(m: Array) -> BellmanInputs:
            own = None if self.kernel_mapper is None else self.kernel(self.kernel_mapper(m))
            return cell.prepare(self.mapper(m), own)

        def readout(value: Array, inputs: BellmanInputs) -> tuple[Array, Array]:
            q = cell.action_values(value, inputs)
            return self.readout(q - q.max(-1, keepdims=True)), value

        bytes_per_map = maps.shape[-3] * maps.shape[-2] * self.q_channels * maps.dtype.itemsize
        return iterate(
            cell,
            maps,
            prepare=prepare,
            readout=readout,
            solver=self.solver if solver is None else solver,
            adjoint=self.adjoint if adjoint is None else adjoint,
            num_steps=num_steps,
            maps_at_once=max(1, _CACHE // bytes_per_map),
        )
