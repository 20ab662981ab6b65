"""Cost networks of symmetric max-plus planners, in the plane and in space."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from jplan._checks import check_kernel_size, check_padding, check_sizes
from jplan._initial import draw_weights
from jplan._typing import Array, Padding
from jplan.mdp import VOXEL_MOVES
from jplan.nn._convolution import loop_convolution
from jplan.nn._e3nn import import_e3nn
from jplan.nn._grid_groups import SteerableKernel, check_multiple, group_elements
from jplan.nn._max_plus import MoveCosts, move_costs


class SteerableCostMapper(nnx.Module):
    """`MoveCostMapper` that commutes with the symmetries of the square, which permute the actions.

    A steerable convolution to regular fields and a linear layer for each of the two fields of
    `MoveCosts`.

    Args:
      group: "C4" or "D4".
      channels: channels of the map, scalars.
      moves: "moves4" or "moves8", the actions.
      hidden: width of each of the two networks, a multiple of the group's order G.
      kernel_size: odd.
      padding: static; see `loop_convolution`.
      forward_mode: static; see `loop_convolution`.
      rngs: for the initial parameters.

    Raises:
      ValueError: if a size is below 1, ``hidden`` no multiple of G, the kernel even, or the padding
        unknown.

    Example:
      >>> mapper = SteerableCostMapper("D4", 2, "moves4", hidden=8, kernel_size=3, rngs=nnx.Rngs(0))
      >>> mapper(jnp.ones((5, 6, 2))).surcharge.shape
      (4, 5, 6)
    """

    def __init__(
        self,
        group: str,
        channels: int,
        moves: str,
        *,
        hidden: int,
        kernel_size: int,
        padding: Padding = "zero",
        forward_mode: bool = False,
        rngs: nnx.Rngs,
    ) -> None:
        check_sizes(channels=channels, hidden=hidden)
        check_multiple(group, hidden=hidden)
        check_padding(padding)
        fields = "regular", hidden // len(group_elements(group))
        make = functools.partial(SteerableKernel, group, rngs=rngs)
        kernel = lambda: make(("trivial", channels), fields, kernel_size=kernel_size)
        out = lambda: make(fields, (moves, 1), kernel_size=1)
        self.padding: Padding = padding
        self.forward_mode = forward_mode
        self.gate_kernel, self.gate_out = kernel(), out()
        self.scale_kernel, self.scale_out = kernel(), out()
        # Zero: before the hard stage has learnt otherwise, all open moves cost the same.
        self.scale_out.weights[...] = jnp.zeros_like(self.scale_out.weights[...])
        self.biases = nnx.Param(jnp.zeros((2, fields[1])))
        self.out_biases = nnx.Param(jnp.zeros(2))

    def __call__(self, inputs: Array) -> MoveCosts:
        """Costs of one map, [H, W, C] -> `MoveCosts`."""

        def network(index: int, kernel: SteerableKernel, out: SteerableKernel) -> Array:
            field = loop_convolution(
                inputs, kernel(), padding=self.padding, forward_mode=self.forward_mode
            )
            bias = jnp.tile(self.biases[index], field.shape[-1] // self.biases.shape[1])
            return jax.nn.relu(field + bias[None, None]) @ out()[0, 0] + self.out_biases[index]

        return move_costs(
            network(0, self.gate_kernel, self.gate_out),
            network(1, self.scale_kernel, self.scale_out),
        )


class VoxelCostMapper(nnx.Module):
    """Network from a voxel map to the cost of the six moves, equivariant to turns and reflections.

        f_l(s) = sum_{k, c} w_l(|k|, c) Y_l(k) x_c(s + k),  cost_a = sum_l v_l . <gate(f)_l, Y_l(a)>

    Inside are scalars, vectors and tensors of second order (``0e + 1o + 2e``), gated by scalars;
    spherical harmonics ``Y_l`` of the offsets make them, and those of the move's direction read
    them out. So a symmetry of the cube turns the vectors and permutes the moves. There is one such
    network for each of the two fields of `MoveCosts`. Needs e3nn-jax, the extra ``space``.

    Args:
      channels: channels of the map, scalars.
      hidden: number of fields of each order.
      kernel_size: odd.
      padding: static; "zero" for a map that ends at its faces, "wrap" for a torus.
      rngs: for the initial parameters.

    Raises:
      ValueError: if a size is below 1, the kernel is even or the padding unknown.

    Example:
      >>> mapper = VoxelCostMapper(2, hidden=4, kernel_size=3, rngs=nnx.Rngs(0))
      >>> mapper(jnp.ones((4, 5, 6, 2))).surcharge.shape
      (6, 4, 5, 6)

    References:
      Weiler et al., 3D steerable CNNs, 2018, sections 4.1 and 4.3; Geiger and Smidt, e3nn:
      Euclidean neural networks, 2022.
    """

    def __init__(
        self,
        channels: int,
        *,
        hidden: int,
        kernel_size: int,
        padding: Padding = "zero",
        rngs: nnx.Rngs,
    ) -> None:
        check_sizes(channels=channels, hidden=hidden)
        check_kernel_size(kernel_size)
        check_padding(padding)
        self.hidden = hidden
        self.kernel_size = kernel_size
        self.padding: Padding = padding
        radii = int(_offsets(kernel_size)[1].max()) + 1
        fan_in = kernel_size**3 * channels
        # Scalars, vectors and tensors; two thirds of the scalars gate the other two, see `_gate`.
        fields = 3 * hidden, hidden, hidden
        shapes = [(2, radii, channels, count) for count in fields]
        self.kernels = nnx.List(
            [nnx.Param(draw_weights(rngs, shape, fan_in=fan_in)) for shape in shapes]
        )
        self.bias = nnx.Param(jnp.zeros((2, 3 * hidden)))
        out = draw_weights(rngs, (2, 3, hidden), fan_in=hidden)
        # Zero for the scale, as in `MoveCostMapper`.
        self.out = nnx.Param(out.at[1].set(0))
        self.out_bias = nnx.Param(jnp.zeros(2))

    def __call__(self, inputs: Array) -> MoveCosts:
        """Costs of one map, [D, H, W, C] -> `MoveCosts`."""
        size, hidden = self.kernel_size, self.hidden
        taps, radius = _offsets(size)
        dtype = jnp.result_type(inputs, self.bias[...])
        inputs, harmonics = inputs.astype(dtype), _harmonics(taps, dtype)

        def kernel(order: int, weights: Array) -> Array:
            entries = jnp.einsum("tm,tcf->tcfm", harmonics[order], weights[radius])
            return entries.reshape(size, size, size, inputs.shape[-1], -1)

        directions = _harmonics(np.array(VOXEL_MOVES), dtype)

        def network(index: int) -> Array:
            kernels = [kernel(order, w[index]) for order, w in enumerate(self.kernels)]
            field = _convolve_voxels(inputs, jnp.concatenate(kernels, axis=-1), self.padding)
            scalars = field[..., : 3 * hidden] + self.bias[index][None, None, None]
            fields = _gate(jnp.concatenate([scalars, field[..., 3 * hidden :]], axis=-1), hidden)
            parts = [
                jnp.einsum("zyxfm,am,f->zyxa", part, direction, weights)
                for part, direction, weights in zip(
                    fields, directions, self.out[index], strict=True
                )
            ]
            return functools.reduce(jnp.add, parts) + self.out_bias[index]

        return move_costs(network(0), network(1))


@functools.cache
def _offsets(size: int) -> tuple[np.ndarray, np.ndarray]:
    """Taps of a kernel, [T, 3], and the number of the radius of each, [T]."""
    axis = np.arange(size) - size // 2
    taps = np.stack(np.meshgrid(axis, axis, axis, indexing="ij"), axis=-1).reshape(-1, 3)
    # int32, since JAX keeps what it made of an array, with and without double precision.
    return taps, np.unique((taps**2).sum(-1), return_inverse=True)[1].astype(np.int32)


def _harmonics(vectors: np.ndarray, dtype: Any) -> list[Array]:
    """Spherical harmonics of orders 0, 1 and 2 of the directions of vectors, [N, 2 l + 1] each."""
    e3nn = import_e3nn()
    with jax.ensure_compile_time_eval():
        of_all = e3nn.spherical_harmonics("0e + 1o + 2e", jnp.asarray(vectors, dtype), True)
    return [chunk[:, 0] for chunk in of_all.chunks]


def _gate(field: Array, hidden: int) -> list[Array]:
    """Scalars through a rectifier; vectors and tensors times a sigmoid of scalars of their own."""
    e3nn = import_e3nn()
    irreps = f"{hidden}x0e + {2 * hidden}x0e + {hidden}x1o + {hidden}x2e"
    gated = e3nn.gate(
        e3nn.IrrepsArray(irreps, field), even_act=jax.nn.relu, even_gate_act=jax.nn.sigmoid
    )
    return list(gated.chunks)


def _convolve_voxels(x: Array, kernel: Array, padding: Padding) -> Array:
    pad = kernel.shape[0] // 2
    mode = "wrap" if padding == "wrap" else "constant"
    padded = jnp.pad(x, ((pad, pad),) * 3 + ((0, 0),), mode=mode)
    return jax.lax.conv_general_dilated(
        *(padded[None], kernel, (1, 1, 1), "VALID"),
        dimension_numbers=("NDHWC", "DHWIO", "NDHWC"),
    )[0]
