"""Gradient-based plans through a convolutional model, beside PyTorch eager and compiled."""

import argparse
import csv
import functools
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import optax
import torch
import torch.nn.functional as F
from flax import nnx
from timing import best_of

import jplan as jp
from jplan.nn import ConvModel, as_model_fn

SIZE, ACTIONS, HORIZON, STEPS, RATE = 8, 4, 10, 10, 0.3
DEVICE = "cuda" if jax.default_backend() == "gpu" else "cpu"  # of PyTorch
COLUMNS = ["implementation", "candidates", "episodes", "milliseconds", "compile_seconds"]


class TorchModel(torch.nn.Module):
    """`jplan.nn.ConvModel` on pictures [B, C, H, W], with its weights."""

    def __init__(self, model):
        super().__init__()
        tensor = lambda array: torch.nn.Parameter(torch.from_numpy(np.array(array)), False)
        kernel = lambda layer: tensor(np.transpose(layer.kernel[...], (3, 2, 0, 1)))
        linear = lambda layer: [tensor(layer.kernel[...]), tensor(layer.bias[...])]
        convolution = lambda layer: [kernel(layer), tensor(layer.bias[...])]
        groups = model.encoder, model.decoder, model.evaluation
        layers = [convolution(layer) for group in groups for layer in group]
        layers += [linear(layer) for layer in (model.action, model.dense, model.outcome)]
        self.layers = torch.nn.ModuleList(torch.nn.ParameterList(layer) for layer in layers)
        self.skip = tensor(model.skip[...].reshape(1, -1, 1, 1))
        self.to(DEVICE)

    def forward(self, picture, action):
        first, second, third, fourth, fifth, sixth, code, dense, outcome = self.layers
        convolve = lambda x, layer: F.conv2d(x, layer[0], layer[1], padding=1)
        hidden = F.relu(convolve(F.relu(convolve(picture, first)), second))
        hidden = F.relu(hidden + (action @ code[0] + code[1])[:, :, None, None])
        following = convolve(F.relu(convolve(hidden, third)), fourth)
        following = torch.sigmoid(self.skip * (picture - 0.5) + following)
        hidden = F.relu(convolve(F.relu(convolve(hidden, fifth)), sixth))
        flat = hidden.permute(0, 2, 3, 1).flatten(1)
        reward, going_on = (F.relu(flat @ dense[0] + dense[1]) @ outcome[0] + outcome[1]).T
        return following, torch.tanh(reward), torch.sigmoid(going_on)


def torch_return(model, picture, latents):
    """Return of relaxed actions, [N, T, A] -> [N]."""
    state = picture.expand(len(latents), -1, -1, -1)
    weight, total = latents.new_ones(len(latents)), latents.new_zeros(len(latents))
    for step in range(latents.shape[1]):
        state, reward, discount = model(state, torch.softmax(latents[:, step], -1))
        total, weight = total + weight * reward, weight * discount
    return total


def torch_plan(forward, model, picture, latents):
    """The same as `jax_plan`: Adam on the latents, then the best quantised candidate."""
    latents = latents.clone().requires_grad_()
    optimizer = torch.optim.Adam([latents], lr=RATE)
    for _ in range(STEPS):
        (latents.grad,) = torch.autograd.grad(-forward(model, picture, latents).sum(), latents)
        optimizer.step()
    with torch.no_grad():
        soft = forward(model, picture, latents)
        hard = torch_return(model, picture, 1e4 * latents)
    return soft, hard.max()


def jax_plan(model_fn, params, picture, key, *, candidates):
    """`jplan.gradient_plan` with the budget of the benchmark."""
    return jp.gradient_plan(
        *(model_fn, params, picture, key),
        horizon=HORIZON,
        action_space=jp.Simplex(ACTIONS),
        candidates=candidates,
        num_steps=STEPS,
        optimizer=optax.adam(RATE, eps_root=1e-8),
    )


def check_equal(model, model_fn, params, picture):
    """AssertionError unless both sides say the same of a plan."""
    latents = jax.random.normal(jax.random.key(5), (3, HORIZON, ACTIONS))
    follow = lambda latent: jp.descent.rollout(model_fn, params, picture, jax.nn.softmax(latent))
    ours = jax.vmap(follow)(latents).total
    theirs = torch_return(model, to_torch(picture).permute(2, 0, 1), to_torch(latents))
    np.testing.assert_allclose(ours, theirs.cpu(), rtol=1e-4, atol=1e-4)


def to_torch(array):
    """A tensor of its own, on the device that JAX computes on."""
    return torch.from_numpy(np.array(array)).to(DEVICE)


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path(".runs/benchmarks"))
    parser.add_argument("--repeats", type=int, default=7, help="rounds; the best time counts")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    torch.set_flush_denormal(True)

    model = ConvModel((SIZE, SIZE), 3, ACTIONS, rngs=nnx.Rngs(0))
    model_fn, params = as_model_fn(model)
    picture = jax.random.bernoulli(jax.random.key(1), 0.3, (SIZE, SIZE, 3)).astype(jnp.float32)
    theirs = TorchModel(model)
    check_equal(theirs, model_fn, params, picture)
    seen = to_torch(picture).permute(2, 0, 1)

    def ours(candidates, episodes):
        plan = functools.partial(jax_plan, model_fn, candidates=candidates)
        many = jax.jit(jax.vmap(plan, in_axes=(None, 0, 0)))
        pictures = jnp.broadcast_to(picture, (episodes, *picture.shape))
        keys = jax.random.split(jax.random.key(2), episodes)
        return lambda: many(params, pictures, keys).hard_return

    def torches(forward, candidates):
        start = to_torch(jax.random.normal(jax.random.key(3), (candidates, HORIZON, ACTIONS)))
        return lambda: torch_plan(forward, theirs, seen, start)[1].item()

    compiled = torch.compile(torch_return)
    cases = [("jplan", count, 1, ours(count, 1)) for count in (20, 1000)]
    cases += [("jplan", 20, episodes, ours(20, episodes)) for episodes in (8, 64)]
    cases += [("PyTorch eager", 20, 1, torches(torch_return, 20))]
    cases += [("PyTorch compiled", 20, 1, torches(compiled, 20))]
    rows = []
    for name, candidates, episodes, function in cases:
        first, later = best_of(function, options.repeats)
        rows.append([name, candidates, episodes, 1000 * later, first - later])
        print(dict(zip(COLUMNS, rows[-1], strict=True)), flush=True)
    with open(options.out / "plans.csv", "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(COLUMNS)
        writer.writerows([row[:3] + [round(value, 3) for value in row[3:]] for row in rows])


if __name__ == "__main__":
    main()
