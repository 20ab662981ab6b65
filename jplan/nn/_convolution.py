"""The convolution that may stand inside a loop."""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp

from jplan._checks import check_padding
from jplan._typing import Array, Padding

_WIDE = 16
"""Up to so many channels on a side XLA's convolution is faster than products of columns; with
fewer outputs than this, copies of all their shifts are cheap."""


def loop_convolution(
    x: Array, kernel: Array, *, padding: Padding = "zero", forward_mode: bool = False
) -> Array:
    """Convolution of the same size, made to be differentiated inside a loop.

    y(i, c) = sum_{k, d} x(i + k, d) kernel(k, d, c)

    Automatic differentiation of a convolution asks for dimension orders that XLA runs 20 to 50
    times slower inside a loop on CPU. There the input gradient is a convolution in the canonical
    order with the flipped kernel, and the kernel gradient one matrix product a tap, or one in all
    where outputs are few. Other platforms take the convolution and its gradient as they are.

    Args:
      x: [H, W, C].
      kernel: [K, K, C, O] with odd K.
      padding: static; "zero" for a map that ends at its edges, "wrap" for a torus.
      forward_mode: static; use the form in matrix products instead, which is slower in reverse
        mode and has jvp and Hessians.

    Returns:
      [H, W, O], in the wider of the two dtypes.

    Raises:
      ValueError: if the channels disagree, the kernel is not square and odd, or the padding is
        unknown.

    Differentiability: reverse mode of any order; every mode with ``forward_mode=True``.

    Example:
      >>> import jax.numpy as jnp
      >>> loop_convolution(jnp.ones((4, 5, 2)), jnp.ones((3, 3, 2, 7))).shape
      (4, 5, 7)

    References:
      JAX issue 12868, for the slow convolutions.
    """
    if kernel.ndim != 4 or kernel.shape[0] != kernel.shape[1] or kernel.shape[0] % 2 == 0:
        raise ValueError(
            f"kernel has shape {list(kernel.shape)}, expected [K, K, C, O] with odd K; an even "
            "kernel has no centre cell."
        )
    if x.ndim != 3 or x.shape[-1] != kernel.shape[2]:
        raise ValueError(
            f"x has shape {list(x.shape)}, expected [H, W, {kernel.shape[2]}] to suit the kernel "
            f"{list(kernel.shape)}; use vmap for a batch."
        )
    check_padding(padding)
    dtype = jnp.result_type(x, kernel)
    x, kernel = x.astype(dtype), kernel.astype(dtype)
    if forward_mode:
        return _by_products(padding, x, kernel)
    return _BY_PLATFORM[padding](x, kernel)


def _plain(padding: Padding, x: Array, kernel: Array) -> Array:
    if padding == "wrap":
        x = pad_map(x, kernel.shape[0], padding)
    y = jax.lax.conv_general_dilated(
        *(x[None], kernel, (1, 1), "VALID" if padding == "wrap" else "SAME"),
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
    )
    return y[0]


def pad_map(x: Array, size: int, padding: Padding) -> Array:
    """A map [H, W, C] with the margin that a kernel of this size reads."""
    pad = size // 2
    mode = "wrap" if padding == "wrap" else "constant"
    return jnp.pad(x, ((pad, pad), (pad, pad), (0, 0)), mode=mode)


def taps(x: Array, size: int, padding: Padding = "zero") -> list[Array]:
    """The ``size * size`` shifted copies of a padded map, in the order of the kernel."""
    height, width, _ = x.shape
    padded = pad_map(x, size, padding)
    return [padded[dy : dy + height, dx : dx + width] for dy in range(size) for dx in range(size)]


def _by_products(padding: Padding, x: Array, kernel: Array) -> Array:
    size, _, channels, outputs = kernel.shape
    patches = jnp.concatenate(taps(x, size, padding), axis=-1)
    return patches @ kernel.reshape(size * size * channels, outputs)


def _by_columns(padding: Padding, x: Array, kernel: Array) -> Array:
    """One product for each column of the kernel, over the rows side by side."""
    size, _, channels, outputs = kernel.shape
    height, width, _ = x.shape
    padded = pad_map(x, size, padding)
    rows = jnp.concatenate([padded[dy : dy + height] for dy in range(size)], axis=-1)
    columns = kernel.transpose(1, 0, 2, 3).reshape(size, size * channels, outputs)
    products = [rows[:, dx : dx + width] @ columns[dx] for dx in range(size)]
    return functools.reduce(jnp.add, products)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _convolve(padding: Padding, x: Array, kernel: Array) -> Array:
    form = _plain if min(kernel.shape[2:]) <= _WIDE else _by_columns
    return form(padding, x, kernel)


def _convolve_forward(
    padding: Padding, x: Array, kernel: Array
) -> tuple[Array, tuple[Array, Array]]:
    return _convolve(padding, x, kernel), (x, kernel)


def _convolve_backward(
    padding: Padding, saved: tuple[Array, Array], g: Array
) -> tuple[Array, Array]:
    x, kernel = saved
    size, _, channels, outputs = kernel.shape
    flipped = jnp.flip(kernel, (0, 1)).transpose(0, 1, 3, 2)
    product = functools.partial(jnp.einsum, "hwc,hwo->co")
    if outputs < min(channels, _WIDE):  # one product with all shifts of the narrow side
        products = product(x, jnp.concatenate(taps(g, size, padding)[::-1], axis=-1))
        products = products.reshape(channels, size**2, outputs).transpose(1, 0, 2)
    else:
        products = jnp.stack([product(tap, g) for tap in taps(x, size, padding)])
    return _convolve(padding, g, flipped), products.reshape(kernel.shape)


_convolve.defvjp(_convolve_forward, _convolve_backward)


def _by_platform(padding: Padding) -> Callable[[Array, Array], Array]:
    """The custom gradient on a CPU, the plain convolution elsewhere.

    The choice stands outside the custom gradient: under vmap that would give one kernel gradient a
    map, for which GPUs have only a slow grouped convolution. The checkpoint says that nothing but
    the arguments is kept; through the choice alone a loop would keep them a second time.
    """
    forms = {
        "cpu": functools.partial(_convolve, padding),
        "default": functools.partial(_plain, padding),
    }
    choose = lambda x, kernel: jax.lax.platform_dependent(x, kernel, **forms)
    return jax.checkpoint(choose, prevent_cse=False)


# Made once, or each eager call would be compiled anew.
_BY_PLATFORM = {"zero": _by_platform("zero"), "wrap": _by_platform("wrap")}
