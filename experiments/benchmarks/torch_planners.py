"""The opponent: VIN and ConvGPPN in PyTorch, with explicit, truncated and implicit gradients.

Maps are [B, C, H, W] and logits [B, A, H, W]. Exactly ``max_steps`` steps run: nothing in a loop
looks at a residual, so there is no synchronisation with the host.
"""

import abc
from collections.abc import Callable, Mapping
from typing import TypeAlias

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

Inputs: TypeAlias = tuple[Tensor, ...]

GRADIENTS = ("explicit", "truncated", "implicit")


class NeumannSolve(torch.autograd.Function):
    """Identity on ``after = step(before)`` whose backward pass solves u = J^T u + g.

    The Jacobian is that of the graph from ``before`` to ``after``. Unlike a hook on ``after`` this
    makes no reference cycle and need not be removed before the graph is walked again.
    """

    @staticmethod
    def forward(ctx, after: Tensor, before: Tensor, steps: int) -> Tensor:
        ctx.after, ctx.before, ctx.steps = after, before, steps
        return after.view_as(after)

    @staticmethod
    def backward(ctx, *gradients: Tensor) -> tuple[Tensor, None, None]:
        (g,) = gradients
        u = g
        for _ in range(ctx.steps):
            (product,) = torch.autograd.grad(ctx.after, ctx.before, u, retain_graph=True)
            u = product.add_(g)
        return u, None, None


class AbstractRecurrentPlanner(nn.Module, abc.ABC):
    """A weight-tied step that is iterated on the map, and how it is differentiated.

    Args:
      max_steps: K, the number of steps.
      gradient: "explicit" is autograd through all steps, "truncated" through the last
        ``truncation``; "implicit" adds one step to the K and differentiates its fixed point.
      truncation: steps with autograd, at most K.
      backward_steps: Neumann iterations, all of them, of an implicit backward pass.
    """

    def __init__(
        self,
        *,
        max_steps: int = 30,
        gradient: str = "explicit",
        truncation: int = 15,
        backward_steps: int = 15,
    ) -> None:
        super().__init__()
        if gradient not in GRADIENTS:
            raise ValueError(f"gradient is {gradient!r}, expected one of {GRADIENTS}.")
        self.max_steps = max_steps
        self.gradient = gradient
        self.truncation = min(truncation, max_steps)
        self.backward_steps = backward_steps

    @abc.abstractmethod
    def prepare(self, maps: Tensor) -> Inputs:
        """What each step takes from the map, computed once."""

    @abc.abstractmethod
    def start(self, inputs: Inputs) -> Tensor:
        """Initial state."""

    @abc.abstractmethod
    def step(self, z: Tensor, inputs: Inputs) -> Tensor:
        """One iteration."""

    @abc.abstractmethod
    def read(self, z: Tensor, inputs: Inputs) -> Tensor:
        """Logits of a state."""

    def run(self, z: Tensor, inputs: Inputs, num_steps: int) -> Tensor:
        for _ in range(num_steps):
            z = self.step(z, inputs)
        return z

    # Compiled, the step would have one backward pass, which finds the weights' gradients as well
    # in every iteration of the solve; eager autograd leaves them out.
    @torch.compiler.disable
    def attach(self, z: Tensor, inputs: Inputs) -> Tensor:
        before = z.detach().requires_grad_()
        after = self.step(before, inputs)
        return NeumannSolve.apply(after, before, self.backward_steps)  # pyright: ignore

    def forward(self, maps: Tensor) -> Tensor:
        inputs = self.prepare(maps)
        z = self.start(inputs)
        if self.gradient == "explicit" or not torch.is_grad_enabled():
            z = self.run(z, inputs, self.max_steps)
        elif self.gradient == "truncated":
            with torch.no_grad():
                z = self.run(z, inputs, self.max_steps - self.truncation)
            z = self.run(z, inputs, self.truncation)
        else:
            with torch.no_grad():
                z = self.run(z, inputs, self.max_steps)
            z = self.attach(z, inputs)  # pyright: ignore
        return self.read(z, inputs)


def _convolution(inputs: int, outputs: int, *, bias: bool = False) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, 3, padding=1, bias=bias)


class VIN(AbstractRecurrentPlanner):
    """Value iteration network, v <- max_a (q_r + W_v * v)_a with q_r = W_r * r outside the loop."""

    def __init__(self, actions, channels, *, q_channels=100, hidden=150, **iteration):
        super().__init__(**iteration)
        self.mapper = _convolution(channels, hidden, bias=True)
        self.reward = nn.Conv2d(hidden, 1, 1, bias=False)
        self.q = _convolution(1, q_channels)
        self.v = _convolution(1, q_channels)
        self.readout = nn.Conv2d(q_channels, actions, 1, bias=False)
        # As in the public ports and in GPPN; a random kernel may blow the values up over the steps.
        nn.init.zeros_(self.v.weight)

    def prepare(self, maps: Tensor) -> Inputs:
        return (self.q(self.reward(F.relu(self.mapper(maps)))).contiguous(),)

    def start(self, inputs: Inputs) -> Tensor:
        return torch.zeros_like(inputs[0][:, :1])

    def step(self, z: Tensor, inputs: Inputs) -> Tensor:
        return self._best(self._q(z, inputs[0]))

    def read(self, z: Tensor, inputs: Inputs) -> Tensor:
        q = self._q(z, inputs[0])
        return self.readout(q - q.amax(1, keepdim=True))

    def _q(self, v: Tensor, from_reward: Tensor) -> Tensor:
        # The convolution of one channel as a matrix product, which trains faster on CPU.
        kernel = self.v.weight.flatten(1).expand(v.shape[0], -1, -1)
        patches = F.unfold(v, 3, padding=1)
        return torch.baddbmm(from_reward.flatten(2), kernel, patches).view_as(from_reward)

    def _best(self, q: Tensor) -> Tensor:
        # amax is the faster forward; max keeps an index a cell, and its backward is the faster.
        return q.max(1, keepdim=True).values if torch.is_grad_enabled() else q.amax(1, keepdim=True)


class ConvGPPN(AbstractRecurrentPlanner):
    """Convolutional GRU that is iterated on the map, the network of `jplan.planners.ConvGPPN`."""

    def __init__(self, actions, channels, *, hidden=40, **iteration):
        super().__init__(**iteration)
        self.hidden = hidden
        self.input = _convolution(channels, 3 * hidden, bias=True)
        self.gate = _convolution(hidden, 2 * hidden)
        self.candidate = _convolution(hidden, hidden)
        self.readout = nn.Conv2d(hidden, actions, 1)

    def prepare(self, maps: Tensor) -> Inputs:
        return self.input(maps).split((2 * self.hidden, self.hidden), 1)

    def start(self, inputs: Inputs) -> Tensor:
        return torch.zeros_like(inputs[1])

    def step(self, z: Tensor, inputs: Inputs) -> Tensor:
        update, reset = self.gate(z).add_(inputs[0]).sigmoid_().chunk(2, 1)
        candidate = self.candidate(reset * z).add_(inputs[1]).tanh_()
        return torch.lerp(z, candidate, update)

    def read(self, z: Tensor, inputs: Inputs) -> Tensor:
        del inputs
        return self.readout(z)


def load_jax_weights(module: AbstractRecurrentPlanner, arrays: Mapping[str, np.ndarray]) -> None:
    """Copy JAX weights, "gate_kernel" to ``gate.weight``; kernels are [3, 3, C, O] or [C, O]."""
    weights = {}
    for name, array in arrays.items():
        layer, _, kind = name.rpartition("_")
        weight = torch.from_numpy(np.array(array))  # a copy, since JAX's arrays are read-only
        if kind == "kernel":
            kind = "weight"
            weight = weight if weight.ndim == 4 else weight[None, None]
            weight = weight.permute(3, 2, 0, 1)
        weights[f"{layer or 'input'}.{kind}"] = weight
    module.load_state_dict(weights)


def _place(
    module: AbstractRecurrentPlanner, memory_format: torch.memory_format, compiled: bool
) -> Callable[[Tensor], Tensor]:
    # In place, so an optimiser keeps its parameters; torch's stubs lack both of these overloads.
    module.to(memory_format=memory_format)  # pyright: ignore
    if not compiled:
        return module
    # Without isolation all planners share one cache of eight entries and the ninth runs eagerly.
    return torch.compile(module, dynamic=False, isolate_recompiles=True)  # pyright: ignore


def train_step_fn(
    module: AbstractRecurrentPlanner,
    optimizer: torch.optim.Optimizer,
    maps: Tensor,
    target: Tensor,
    mask: Tensor,
    *,
    memory_format: torch.memory_format = torch.channels_last,
    compiled: bool = False,
) -> Callable[[], Tensor]:
    """One training step, forward to Adam, on a masked cross-entropy; it returns the loss."""
    planner = _place(module, memory_format, compiled)
    maps, target = (x.to(memory_format=memory_format) for x in (maps, target))
    mask = mask.to(maps.dtype)

    def step() -> Tensor:
        loss = F.cross_entropy(planner(maps), target, reduction="none")
        loss = (loss * mask).sum() / mask.sum()
        loss.backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        return loss.detach()

    return step


def plan_fn(
    module: AbstractRecurrentPlanner,
    maps: Tensor,
    *,
    memory_format: torch.memory_format = torch.channels_last,
    compiled: bool = False,
) -> Callable[[], Tensor]:
    """The forward pass alone, without autograd."""
    planner = _place(module, memory_format, compiled)
    maps = maps.to(memory_format=memory_format)

    @torch.inference_mode()
    def plan() -> Tensor:
        return planner(maps)

    return plan


def allow_tf32(allowed: bool) -> None:
    """Let a GPU round the factors of products and convolutions to TensorFloat-32, or not."""
    torch.backends.cuda.matmul.allow_tf32 = allowed
    torch.backends.cudnn.allow_tf32 = allowed
    torch.backends.cudnn.benchmark = True


def replay_fn(run: Callable[[], Tensor]) -> Callable[[], None]:
    """The same work on a GPU as one recorded CUDA graph: no Python and few launches a step."""
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(3):  # as PyTorch asks for before a recording
            run()
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        run()

    def replay() -> None:
        graph.replay()
        _ = run  # keeps alive what the recording reads: maps, targets, weights

    return replay
