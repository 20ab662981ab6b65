"""The attention cell against NumPy, its symmetry, and the positions."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import jplan as jp
from jplan.nn import AttentionCell, position_encoding


def normalise(x):
    centred = x - x.mean(-1, keepdims=True)
    return centred / np.sqrt((centred**2).mean(-1, keepdims=True) + 1e-6)


@pytest.mark.parametrize("inject", [True, False])
def test_one_step_is_a_transformer_block(inject, x64):
    cell = AttentionCell(6, heads=2, inject=inject, rngs=nnx.Rngs(0))
    z, inputs = (jax.random.normal(jax.random.key(k), (2, 3, 6)) for k in (0, 1))
    apply = lambda layer, x: x @ np.asarray(layer.kernel[...]) + np.asarray(layer.bias[...])
    h = np.asarray(z + inputs if inject else z).reshape(6, 6)
    query, key, value = np.split(apply(cell.project, h), 3, axis=-1)
    mixed = []
    for head in (slice(0, 3), slice(3, 6)):
        score = np.exp(query[:, head] @ key[:, head].T / np.sqrt(3))
        mixed.append(score / score.sum(-1, keepdims=True) @ value[:, head])
    h = normalise(h + apply(cell.merge, np.concatenate(mixed, axis=-1)))
    h = normalise(h + apply(cell.narrow, np.maximum(apply(cell.widen, h), 0)))
    h = h.reshape(2, 3, 6)
    np.testing.assert_allclose(cell(z, inputs), (z + h) / 2 if inject else h, atol=1e-10)
    start = jnp.zeros_like(inputs) if inject else inputs
    np.testing.assert_array_equal(cell.start(inputs), start)


def test_a_step_does_not_know_the_order_of_the_cells(x64):
    cell = AttentionCell(8, heads=4, rngs=nnx.Rngs(0))
    z, inputs = (jax.random.normal(jax.random.key(k), (1, 12, 8)) for k in (0, 1))
    order = jax.random.permutation(jax.random.key(2), 12)
    expected = cell(z, inputs)[:, order]
    np.testing.assert_allclose(cell(z[:, order], inputs[:, order]), expected, atol=1e-12)


def test_it_converges_where_the_input_is_injected(x64):
    cell = AttentionCell(8, heads=2, rngs=nnx.Rngs(0))
    inputs = jax.random.normal(jax.random.key(0), (2, 4, 5, 8))
    solver = jp.Picard(tol=1e-9, max_steps=500)
    out = jp.nn.solve_cell(
        cell, inputs, jnp.zeros_like(inputs), solver=solver, adjoint=jp.Truncated(1)
    )
    assert bool(jnp.all(out.status == jp.Status.CONVERGED))
    # It is a fixed point, and one that depends on the input.
    again = jax.vmap(cell)(out.value, inputs)
    np.testing.assert_allclose(again, out.value, atol=1e-7)
    assert float(np.abs(out.value[0] - out.value[1]).max()) > 0.1


@pytest.mark.parametrize("padding", ["zero", "wrap"])
def test_every_cell_has_a_position_of_its_own(padding):
    waves = position_encoding(7, 9, 16, padding=padding)
    assert waves.shape == (7, 9, 16)
    flat = np.asarray(waves).reshape(63, 16)
    apart = np.linalg.norm(flat[:, None] - flat[None], axis=-1) + 10 * np.eye(63)
    assert apart.min() > 0.1
    # Along y the first half tells them apart, along x the second.
    assert np.ptp(waves[:, :, :8], axis=1).max() == 0
    assert np.ptp(waves[:, :, 8:], axis=0).max() == 0


def test_positions_by_hand():
    waves = position_encoding(3, 4, 8)
    angles = np.array([2.0, 2.0 / 100])
    expected = np.concatenate([np.sin(angles), np.cos(angles)])
    np.testing.assert_allclose(waves[2, 1, :4], expected, rtol=1e-6)
    # On a torus the neighbours of a cell look alike over the edge and elsewhere.
    ring = np.asarray(position_encoding(5, 6, 8, padding="wrap"))
    likeness = np.einsum("yxc,zxc->yz", ring, ring) / 6
    np.testing.assert_allclose(np.roll(likeness, (1, 1), (0, 1)), likeness, atol=1e-5)


def test_mistakes_get_advice():
    with pytest.raises(ValueError, match="hidden is 10, expected a multiple of 4, the number of h"):
        AttentionCell(10, heads=4, rngs=nnx.Rngs(0))
    with pytest.raises(ValueError, match="channels is 10, expected a multiple of 4"):
        position_encoding(3, 3, 10)
    with pytest.raises(ValueError, match="padding is 'torus'"):
        position_encoding(3, 3, 8, padding="torus")
