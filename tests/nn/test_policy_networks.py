"""Policies, and the heads that make latents of any action space."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import jplan as jp
from jplan.nn import ActionHead, ConvPolicy, MLPPolicy

SPACE = jp.Product({"signal": jp.Simplex(3), "thrust": jp.Box(-jnp.ones(2), jnp.ones(2))})


def test_head_splits_one_linear_layer_into_the_parts():
    head = ActionHead(4, SPACE, rngs=nnx.Rngs(0))
    x = jnp.arange(4.0)
    latent, flat = head(x), head.linear(x)
    np.testing.assert_array_equal(latent["signal"], flat[:3])
    np.testing.assert_array_equal(latent["thrust"], flat[3:])


def test_conv_policy_sees_where_things_are():
    policy = ConvPolicy((5, 5), 2, jp.Simplex(4), rngs=nnx.Rngs(0))
    seen = jax.random.uniform(jax.random.key(0), (5, 5, 2))
    assert abs(policy(seen) - policy(jnp.rot90(seen))).max() > 1e-4


def test_mlp_policy_scales_what_it_sees():
    plain = MLPPolicy(3, SPACE, hidden=8, rngs=nnx.Rngs(0))
    scaled = MLPPolicy(3, SPACE, hidden=8, mean=1.0, scale=4.0, rngs=nnx.Rngs(0))
    seen = jnp.array([0.1, 0.2, -0.3])
    latents = plain(seen), scaled(4 * seen + 1)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5), *latents)


def test_bad_shapes():
    with pytest.raises(ValueError, match=r"expected \[5, 5, 2\]"):
        ConvPolicy((5, 5), 2, SPACE, rngs=nnx.Rngs(0))(jnp.zeros((5, 5, 3)))
    with pytest.raises(ValueError, match=r"expected \[3\]"):
        MLPPolicy(3, SPACE, hidden=8, rngs=nnx.Rngs(0))(jnp.zeros(4))
    with pytest.raises(ValueError, match="layers is 0"):
        MLPPolicy(3, SPACE, layers=0, rngs=nnx.Rngs(0))
