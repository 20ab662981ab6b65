"""Spaces of actions: a latent that descent may move freely, and the action that it stands for."""

import abc
import functools
import math
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from jplan._typing import Array, PyTree, Scalar
from jplan.relax import entmax15, gumbel_softmax, sparsemax, straight_through


class AbstractActionSpace(abc.ABC):
    """What a planner has to know of actions.

    A planner moves latents; a model is given what `decode` makes of them, and the world what
    `quantise` makes. All methods take any leading axes.
    """

    @abc.abstractmethod
    def sample(self, key: Array, lead: tuple[int, ...] = ()) -> PyTree:
        """Random latents to begin from, with these leading axes, the last of which is time."""

    @abc.abstractmethod
    def decode(self, latent: PyTree, *, key: Array | None = None) -> PyTree:
        """The relaxed action; the key is for spaces whose relaxation is random."""

    @abc.abstractmethod
    def project(self, latent: PyTree) -> PyTree:
        """The nearest latent that may be."""

    @abc.abstractmethod
    def quantise(self, latent: PyTree) -> PyTree:
        """The action that can be carried out."""

    @abc.abstractmethod
    def imitation_loss(self, latent: PyTree, action: PyTree) -> Array:
        """How far a latent is from an action that can be carried out, [...]."""


@struct.dataclass
class Simplex(AbstractActionSpace):
    """One of several discrete actions; relaxed, a point of the probability simplex.

    The latent is a vector of logits [..., A], the action a vector [..., A]: one-hot when quantised.

    Args:
      num_actions: static, A.
      relaxation: static; "softmax"; "sparsemax" or "entmax15", whose actions may have exact zeros;
        "straight_through", one-hot with the gradient of the softmax; "gumbel", softmax with noise,
        which needs a key.
      temperature: positive; divides the logits.
      scale: standard deviation of the logits that `sample` draws.
      correlation: static; between the logits of successive steps that `sample` draws, from 0 on and
        below 1. Plans that go on in one direction for some steps come further than those that turn
        at random in each. `cem_plan` and `mppi_plan` draw by laws of their own.

    Raises:
      ValueError: by the methods: if there are no actions or the relaxation is unknown.

    Example:
      >>> import jax.numpy as jnp
      >>> space = Simplex(3)
      >>> space.quantise(jnp.array([0.2, 0.9, -1.0]))
      Array([0., 1., 0.], dtype=float32)

    References: Henaff, Whitney & LeCun 2017, "Model-based planning with discrete and continuous
    actions", section 3, for softmax and unit normal logits; Pinneri et al. 2020, "Sample-efficient
    cross-entropy method for real-time planning", for draws that are correlated in time.
    """

    num_actions: int = struct.field(pytree_node=False)
    relaxation: Literal["softmax", "sparsemax", "entmax15", "straight_through", "gumbel"] = (
        struct.field(pytree_node=False, default="softmax")
    )
    temperature: Scalar = 1.0
    scale: Scalar = 1.0
    correlation: float = struct.field(pytree_node=False, default=0.0)

    def sample(self, key: Array, lead: tuple[int, ...] = ()) -> Array:
        """Normal logits, [*lead, A]; the last leading axis is time."""
        if not isinstance(self.num_actions, int) or self.num_actions < 1:
            raise ValueError(f"num_actions is {self.num_actions!r}, expected a number from 1 on.")
        drawn = jax.random.normal(key, (*lead, self.num_actions))
        return self.scale * _correlated(drawn, self.correlation)

    def decode(self, latent: Array, *, key: Array | None = None) -> Array:
        """A point of the simplex, [..., A]."""
        logits = latent / self.temperature
        match self.relaxation:
            case "softmax":
                return jax.nn.softmax(logits)
            case "sparsemax":
                return sparsemax(logits)
            case "entmax15":
                return entmax15(logits)
            case "straight_through":
                return straight_through(self.quantise(latent), jax.nn.softmax(logits))
            case "gumbel":
                if key is None:
                    raise ValueError("key is None, expected a key: the relaxation is 'gumbel'.")
                return gumbel_softmax(key, latent, temperature=self.temperature)
        raise ValueError(
            f"relaxation is {self.relaxation!r}, expected 'softmax', 'sparsemax', 'entmax15', "
            "'straight_through' or 'gumbel'."
        )

    def project(self, latent: Array) -> Array:
        """The latent itself: all logits may be."""
        return latent

    def quantise(self, latent: Array) -> Array:
        """The likeliest action, one-hot [..., A]."""
        return jax.nn.one_hot(latent.argmax(-1), self.num_actions, dtype=latent.dtype)

    def imitation_loss(self, latent: Array, action: Array) -> Array:
        """Cross-entropy of the logits, [...]."""
        return -jnp.sum(action * jax.nn.log_softmax(latent / self.temperature), axis=-1)


@struct.dataclass
class Box(AbstractActionSpace):
    """Vectors between two bounds; latent and action are the same.

    Args:
      low: [D], least values.
      high: [D], largest values.
      scale: standard deviation of the normal vectors about 0, clipped to the bounds, that `sample`
        draws, and the unit of ``imitation_loss``; None draws uniformly between the bounds.
      correlation: static; as of a `Simplex`, before the clipping; only of normal vectors.

    Raises:
      ValueError: by the methods: if the bounds differ in shape, or there is a correlation and no
        scale.

    Example:
      >>> import jax.numpy as jnp
      >>> Box(jnp.array([-1.0, 0.0]), jnp.ones(2)).project(jnp.array([-3.0, 0.5]))
      Array([-1. ,  0.5], dtype=float32)
    """

    low: Array
    high: Array
    scale: Scalar | None = None
    correlation: float = struct.field(pytree_node=False, default=0.0)

    def sample(self, key: Array, lead: tuple[int, ...] = ()) -> Array:
        """Between the bounds, [*lead, D]; the last leading axis is time."""
        low, high = jnp.asarray(self.low, float), jnp.asarray(self.high, float)
        if low.shape != high.shape:
            raise ValueError(
                f"low and high have shapes {low.shape} and {high.shape}, expected the same."
            )
        shape = *lead, *low.shape
        if self.scale is not None:
            drawn = jax.random.normal(key, shape, low.dtype)
            return self.project(self.scale * _correlated(drawn, self.correlation))
        if self.correlation:
            raise ValueError("scale is None, expected a number: uniform draws do not correlate.")
        return jax.random.uniform(key, shape, low.dtype, low, high)

    def decode(self, latent: Array, *, key: Array | None = None) -> Array:
        """The latent itself."""
        del key
        return latent

    def project(self, latent: Array) -> Array:
        """Clipped to the bounds."""
        low, high = (jnp.broadcast_to(bound, latent.shape) for bound in (self.low, self.high))
        return jnp.clip(latent, low, high)

    def quantise(self, latent: Array) -> Array:
        """Clipped to the bounds."""
        return self.project(latent)

    def imitation_loss(self, latent: Array, action: Array) -> Array:
        """Half the squared distance in units of ``scale``, or of 1, [...]."""
        unit = 1.0 if self.scale is None else self.scale
        return jnp.sum(((latent - action) / unit) ** 2, axis=-1) / 2


@struct.dataclass
class Product(AbstractActionSpace):
    """Actions of several parts, such as a thrust and a signal.

    Latents and actions are dictionaries with the names of the parts.

    Args:
      spaces: the space of each part.

    Raises:
      ValueError: by the methods: if there is no part, or a latent has others.

    Example:
      >>> import jax
      >>> space = Product(
      ...     {"signal": Simplex(4), "thrust": Box(-jax.numpy.ones(2), jax.numpy.ones(2))}
      ... )
      >>> {name: part.shape for name, part in space.sample(jax.random.key(0), (10,)).items()}
      {'signal': (10, 4), 'thrust': (10, 2)}
    """

    spaces: dict[str, Any]

    def sample(self, key: Array, lead: tuple[int, ...] = ()) -> PyTree:
        """Random latents of all parts."""
        if not self.spaces:
            raise ValueError("spaces is empty, expected at least one part.")
        keys = jax.random.split(key, len(self.spaces))
        return {
            name: space.sample(key, lead)
            for key, (name, space) in zip(keys, sorted(self.spaces.items()), strict=True)
        }

    def decode(self, latent: PyTree, *, key: Array | None = None) -> PyTree:
        """Relaxed actions of all parts."""
        self._check(latent)
        count = len(self.spaces)
        keys = [None] * count if key is None else list(jax.random.split(key, count))
        return {
            name: space.decode(latent[name], key=key)
            for key, (name, space) in zip(keys, sorted(self.spaces.items()), strict=True)
        }

    def project(self, latent: PyTree) -> PyTree:
        """Each part by its own space."""
        self._check(latent)
        return {name: space.project(latent[name]) for name, space in self.spaces.items()}

    def quantise(self, latent: PyTree) -> PyTree:
        """Each part by its own space."""
        self._check(latent)
        return {name: space.quantise(latent[name]) for name, space in self.spaces.items()}

    def imitation_loss(self, latent: PyTree, action: PyTree) -> Array:
        """Sum over the parts, [...]."""
        self._check(latent)
        losses = [
            space.imitation_loss(latent[name], action[name]) for name, space in self.spaces.items()
        ]
        return functools.reduce(jnp.add, losses)

    def _check(self, latent: PyTree) -> None:
        if not isinstance(latent, dict) or latent.keys() != self.spaces.keys():
            got = sorted(latent) if isinstance(latent, dict) else type(latent).__name__
            raise ValueError(f"latent has parts {got}, expected {sorted(self.spaces)}.")


def _correlated(white: Array, correlation: float) -> Array:
    """Unit normal vectors [..., T, D], each like the one before it: a process of first order."""
    if not isinstance(correlation, (int, float)) or not 0 <= correlation < 1:
        raise ValueError(
            f"correlation is {correlation}, expected a Python number from 0 on and below 1."
        )
    if correlation == 0 or white.ndim < 2:
        return white
    steps = np.arange(white.shape[-2])
    ago = steps[:, None] - steps
    share = np.where(steps == 0, 1.0, math.sqrt(1 - correlation**2))
    weights = np.where(ago < 0, 0.0, share * correlation ** np.maximum(ago, 0))
    return jnp.einsum("ts,...sd->...td", jnp.asarray(weights, white.dtype), white)
