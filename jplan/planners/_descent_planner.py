"""The networks of PaD as one planner of states and actions."""

import dataclasses
from typing import Any

import jax.numpy as jnp
import optax
from flax import nnx

from jplan._typing import Array, Params
from jplan.descent import AcceptFn, Gradient, Refinement, refine
from jplan.nn import (
    InverseDynamics,
    LatentProjector,
    StateDecoder,
    StateEncoder,
    TrajectoryEnergy,
)
from jplan.planners._planner import constructor_arguments
from jplan.planners._planning_as_descent import LatentPlan, planning_as_descent


class DescentPlanner(nnx.Module):
    """Encoder, energy, projector and inverse dynamics: PaD for states that are vectors.

    Args:
      inputs: width of a state.
      actions: width of an action, whose entries are in [-1, 1].
      horizon: T, steps that are planned ahead.
      max_past: P, states that a plan follows.
      width: of a latent, D.
      network_hidden: hidden units of encoder, projector, inverse dynamics and decoder.
      hidden: see `jplan.nn.TrajectoryEnergy`, as the next six.
      layers: of the transformer.
      heads: of its attention.
      kernel_size: of the convolution over time.
      stride: of the convolution over time.
      causal: whether tokens see only what comes before them.
      anchored: whether energies tell which progress is likely, see `jplan.nn.TrajectoryEnergy`;
        of no effect if they are not told it.
      num_steps: of the descent, in training and in planning alike.
      projected: whether each step of the descent ends with the projector.
      timed: whether the energy is told when the goal is to be reached.
      mean: [inputs] or [], of the states; see `jplan.training.OfflineData.standard_numbers`.
      scale: [inputs] or [], positive, of the states.
      rngs: for the initial parameters.

    Raises:
      ValueError: see the networks.

    Example:
      >>> import jax
      >>> small = {"width": 8, "hidden": 16, "heads": 2, "network_hidden": 16}
      >>> planner = DescentPlanner(4, 2, horizon=12, max_past=4, **small, rngs=nnx.Rngs(0))
      >>> past = jnp.zeros((4, 4))
      >>> plan_fn = jax.jit(lambda key: planner.plan(past, jnp.ones(4), key, candidates=8))
      >>> plan = plan_fn(jax.random.key(0))
      >>> plan.latents.shape, planner.first_actions(plan, past, 3).shape
      ((12, 8), (3, 2))

    References: Planning as Descent, arXiv 2512.17846. The sizes by default are a guess at those of
      the paper, from its numbers of parameters.
    """

    def __init__(
        self,
        inputs: int,
        actions: int,
        *,
        horizon: int = 96,
        max_past: int = 8,
        width: int = 128,
        network_hidden: int = 512,
        hidden: int = 384,
        layers: int = 3,
        heads: int = 6,
        kernel_size: int = 5,
        stride: int = 4,
        causal: bool = False,
        anchored: bool = True,
        num_steps: int = 2,
        projected: bool = True,
        timed: bool = True,
        mean: Any = 0.0,
        scale: Any = 1.0,
        rngs: nnx.Rngs,
    ) -> None:
        self.inputs = inputs
        self.actions = actions
        self.horizon = horizon
        self.max_past = max_past
        self.width = width
        self.network_hidden = network_hidden
        self.hidden = hidden
        self.layers = layers
        self.heads = heads
        self.kernel_size = kernel_size
        self.stride = stride
        self.causal = causal
        self.anchored = anchored
        self.num_steps = num_steps
        self.projected = projected
        self.timed = timed
        network: dict[str, Any] = {"hidden": network_hidden, "rngs": rngs}
        self.encoder = StateEncoder(inputs, width, mean=mean, scale=scale, **network)
        self.mean, self.scale = self.encoder.mean, self.encoder.scale
        self.energy = TrajectoryEnergy(
            *(width, horizon, max_past),
            hidden=hidden,
            layers=layers,
            heads=heads,
            kernel_size=kernel_size,
            stride=stride,
            causal=causal,
            anchored=anchored and timed,
            rngs=rngs,
        )
        self.projector = LatentProjector(width, **network) if projected else None
        self.log_step_size = nnx.Param(jnp.zeros(()))
        self.inverse = InverseDynamics(width, actions, **network)
        self.decoder = StateDecoder(width, inputs, mean=mean, scale=scale, **network)

    def configuration(self) -> dict[str, Any]:
        """Constructor arguments that rebuild this planner, without its parameters."""
        return constructor_arguments(self)

    def plan(
        self,
        past: Array,
        goal: Array,
        key: Array,
        *,
        candidates: int = 256,
        keep: int = 32,
        num_steps: int | None = None,
        accept: AcceptFn | None = None,
        batch_size: int | None = None,
    ) -> LatentPlan:
        """A plan from the states so far [P, inputs] to a state [inputs].

        The past is the ``max_past`` newest states, the oldest first; where there are fewer,
        `first_past` and `extend_past` repeat the first. See `planning_as_descent` for the other
        arguments and errors; ``num_steps`` is that of the training if it is None.
        """
        energy_fn, params = self.energy_fn()
        return planning_as_descent(
            *(energy_fn, params, self.encoder(past), self.encoder(goal), key),
            horizon=self.horizon,
            candidates=candidates,
            num_steps=self.num_steps if num_steps is None else num_steps,
            keep=keep,
            step_size=jnp.exp(self.log_step_size[...]),
            project=energy_fn.project,
            accept=accept,
            batch_size=batch_size,
        )

    def descend(
        self,
        start: Array,
        past: Array,
        goal: Array,
        progress: Array,
        *,
        num_steps: int | None = None,
        gradient: Gradient = "none",
    ) -> Refinement:
        """The descent of `plan` from one start.

        Args:
          start: [T, D], latents of a future, or noise.
          past: [P, D], latents.
          goal: [D], latent.
          progress: [], where in the future the goal is reached, from 0 to 1.
          num_steps: static; None for those of the training.
          gradient: see `jplan.refine`.

        Returns:
          `Refinement` of latents.

        Raises:
          ValueError: if shapes do not fit or ``num_steps`` is below 0.
        """
        energy_fn, params = self.energy_fn()
        return refine(
            lambda params, future: energy_fn(params, future, past, goal, progress),
            *(params, start),
            optimizer=optax.sgd(jnp.exp(self.log_step_size[...])),
            num_steps=self.num_steps if num_steps is None else num_steps,
            project=energy_fn.project,
            gradient=gradient,
        )

    def first_actions(self, plan: LatentPlan, past: Array, count: int) -> Array:
        """The first actions of a plan, [count, A], by the inverse dynamics.

        Raises:
          ValueError: unless ``count`` is from 1 to the horizon.
        """
        if not 1 <= count <= self.horizon:
            raise ValueError(f"count is {count}, expected 1 to {self.horizon}, the horizon.")
        following = plan.latents[:count]
        latents = jnp.concatenate([self.encoder(past[-1:]), following[:-1]])
        return self.inverse(latents, following)

    def energy_fn(self) -> tuple["DescentEnergy", Params]:
        """Energy and projection as pure functions, and their parameters."""
        graphdef, params = nnx.split((self.energy, self.projector))
        return DescentEnergy(graphdef, self.timed), params


@dataclasses.dataclass(frozen=True)
class DescentEnergy:
    """Energy and projector as functions of their parameters; equal for equal structure."""

    graphdef: nnx.GraphDef
    timed: bool

    def __call__(
        self, params: Params, future: Array, past: Array, goal: Array, progress: Array
    ) -> Array:
        """The energy, []."""
        energy, _ = nnx.merge(self.graphdef, params)
        return energy(future, past, goal, progress if self.timed else jnp.zeros_like(progress))

    def project(self, params: Params, future: Array) -> Array:
        """The projected future, [T, D]; the same where there is no projector."""
        _, projector = nnx.merge(self.graphdef, params)
        return future if projector is None else projector(future)
