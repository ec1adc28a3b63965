"""Frozen networks on the CPU, several times as fast as run module by module.

Run module by module, a network such as EfficientNet-Lite0 spends more than half of its time outside its
convolutions: BatchNorm, activation and padding each pass over all pixels once more, and every large result is
memory that the kernel has to map and clear first. Here BatchNorm is folded into the convolution's weights, the
activation is computed by the convolution itself (oneDNN, part of every x86 and ARM Linux build of torch), and
images pass in groups small enough for the allocator to use the same memory again.
"""

import copy
import logging
import time
from collections import Counter
from dataclasses import dataclass

import torch
from timm.layers import BatchNormAct2d, Conv2dSame
from timm.layers.padding import pad_same_arg
from torch import Tensor, nn

# largest deviation of an accepted engine, relative to the largest magnitude among the outputs
TOLERANCE = 1e-4
# glibc maps, clears and returns to the kernel whatever is larger than 32 MiB, and at worst much less
GROUP_BYTES = 20e6

# how oneDNN names an activation, and its parameters
ACTIVATIONS: dict[type[nn.Module], tuple[str, list[float]]] = {
    nn.ReLU: ("relu", []),
    nn.ReLU6: ("hardtanh", [0.0, 6.0]),
    nn.SiLU: ("swish", []),
    nn.Hardswish: ("hardswish", []),
    nn.Sigmoid: ("sigmoid", []),
    nn.Hardsigmoid: ("hardsigmoid", []),
}

log = logging.getLogger(__name__)


class Engine:
    """Runs a network under inference mode, on batches of any size.

    Args:
        name: `eager` or `fused`.
        network: Treats each image alone.
        group: How many images pass through the network at once; None for the whole batch.
    """

    def __init__(self, name: str, network: nn.Module, group: int | None = None):
        self.name = name
        self.network = network
        self.group = group

    @torch.inference_mode()
    def __call__(self, images: Tensor) -> Tensor:
        if self.group is None or len(images) <= self.group:
            return self.network(images)
        return torch.cat([self.network(group) for group in images.split(self.group)])


def fast_inference(module: nn.Module, example: Tensor) -> Engine:
    """The fastest way to run a module on the CPU whose outputs are the module's own.

    The module is copied: training it further does not change the engine. Whatever cannot be made faster runs
    as it is, and the log says why at debug level. Takes a fraction of a second, which about fifty images repay.

    Args:
        module: In eval mode; treats each image alone.
        example: A few images as the module takes them, [B, 3, H, W]. The engine takes batches of any size with
            these H and W.
    """
    why = "the module is not in eval mode" if any(m.training for m in module.modules()) else None
    eager = Engine("eager", module)
    if why is None:
        try:
            fused = _fuse(module, example)
            why = _refuse(eager, fused, example[: fused.group])
        except Exception as error:  # whatever an unusual module or an unusual build of torch raises
            why = f"{type(error).__name__}: {str(error).strip().splitlines()[:1]}"
    if why is None:
        log.debug("inference engine: fused, %d images at once", fused.group)
        return fused
    log.debug("inference engine: eager (%s)", why)
    return eager


def _refuse(eager: Engine, fused: Engine, sample: Tensor) -> str | None:
    """Why the fused engine will not do; None when it will."""
    expected, got = eager(sample), fused(sample)
    if got.shape != expected.shape or got.dtype != expected.dtype:
        return f"got {got.dtype} {list(got.shape)}, expected {expected.dtype} {list(expected.shape)}"
    error = ((got - expected).abs().max() / expected.abs().max()).item()
    if not error <= TOLERANCE:
        return f"outputs differ by {error:.1e} of the largest"
    seconds = {eager: float("inf"), fused: float("inf")}
    for _ in range(3):  # in turns, since other processes come and go
        for engine in seconds:
            start = time.perf_counter()
            engine(sample)
            seconds[engine] = min(seconds[engine], time.perf_counter() - start)
    return None if seconds[fused] <= 1.05 * seconds[eager] else "it is slower"


def _fuse(module: nn.Module, example: Tensor) -> Engine:
    """A copy of a module whose convolutions take in the BatchNorm and the activation that follow.

    Raises:
        ValueError: There is no convolution to fuse.
        Exception: Whatever an unusual module, or a build of torch without oneDNN, raises.
    """
    if example.device.type != "cpu":
        raise ValueError(f"the images are on {example.device}")
    network = nn.Sequential(copy.deepcopy(module)).to(memory_format=torch.channels_last)
    steps = _record(network, example[:1])
    chains = _chains(steps)
    if not chains:
        raise ValueError("it has no convolution to fuse")
    largest = 4 * max(max(step.input.numel(), step.output.numel()) for step in steps)
    group = max(int(GROUP_BYTES / largest), torch.get_num_threads())
    replacements: dict[nn.Module, nn.Module] = {}
    for conv, *followers in chains:
        shape = [group, *conv.input.shape[1:]]
        fused = FusedConv(conv.module, [step.module for step in followers], shape)
        replacements[conv.module] = fused
        for step in followers:
            replacements[step.module] = nn.Identity()
    for parent in list(network.modules()):
        for name, child in parent.named_children():
            if child in replacements:
                setattr(parent, name, replacements[child])
    return Engine("fused", network, group)


@dataclass
class Step:
    """One call of a module."""

    module: nn.Module
    input: Tensor
    output: Tensor


@torch.inference_mode()
def _record(network: nn.Module, images: Tensor) -> list[Step]:
    """The calls of all convolutions, BatchNorms and activations, in order."""
    inside = {module.act for module in network.modules() if type(module) is BatchNormAct2d}
    steps: list[Step] = []
    hooks = [
        module.register_forward_hook(lambda module, args, output: steps.append(Step(module, args[0], output)))
        for module in network.modules()
        if module not in inside and (_is_conv(module) or _is_norm(module) or type(module) in ACTIVATIONS)
    ]
    network(images)
    for hook in hooks:
        hook.remove()
    return steps


def _chains(steps: list[Step]) -> list[list[Step]]:
    """Each convolution with the BatchNorm and activation that take its output and nothing else.

    Exact types throughout: a subclass may do more. A module that is called twice stays as it is.
    """
    times = Counter(step.module for step in steps)
    chains: list[list[Step]] = []
    for step in steps:
        if times[step.module] > 1:
            continue
        if _is_conv(step.module):
            chains.append([step])
        elif chains and chains[-1][-1].output is step.input:
            last = chains[-1][-1].module
            if _is_conv(last) or (type(last) is nn.BatchNorm2d and not _is_norm(step.module)):
                chains[-1].append(step)
    return chains


def _is_conv(module: nn.Module) -> bool:
    return (
        type(module) in (nn.Conv2d, Conv2dSame)
        and module.weight.dtype == torch.float32
        and module.padding_mode == "zeros"
        and not isinstance(module.padding, str)
    )


def _is_norm(module: nn.Module) -> bool:
    """A BatchNorm with fixed statistics, and one whose activation oneDNN knows."""
    if type(module) is BatchNormAct2d and type(module.act) not in (nn.Identity, *ACTIVATIONS):
        return False
    return type(module) in (nn.BatchNorm2d, BatchNormAct2d) and module.running_mean is not None


class FusedConv(nn.Module):
    """A convolution, and the BatchNorm and activation behind it, in one call of oneDNN.

    Args:
        conv: Padded evenly, or as TensorFlow does: one row or column more at the bottom and right.
        followers: A BatchNorm, an activation, both in this order, or none.
        shape: Of the inputs, [B, C, H, W]; another B works too, at the cost of arranging the weights anew.
    """

    def __init__(self, conv: nn.Conv2d, followers: list[nn.Module], shape: list[int]):
        super().__init__()
        weight, bias = _fold(conv, [module for module in followers if _is_norm(module)])
        self.pad, padding = None, list(conv.padding)
        if isinstance(conv, Conv2dSame):
            left, right, top, bottom = pad_same_arg(shape[2:], conv.kernel_size, conv.stride, conv.dilation)
            if conv.groups > 1 and conv.dilation == (1, 1):
                # padding evenly and a kernel with zeros in front give the same, and spare a copy of the input
                weight = nn.functional.pad(weight, (right - left, 0, bottom - top, 0))
                padding = [bottom, right]
            else:
                self.pad = [left, right, top, bottom]
                shape = [*shape[:2], shape[2] + top + bottom, shape[3] + left + right]
        layout = [padding, list(conv.stride), list(conv.dilation), conv.groups]
        weight = weight.contiguous(memory_format=torch.channels_last)
        self.weight = torch.ops.mkldnn._reorder_convolution_weight(weight, *layout, shape)
        activation = next((a for a in map(_activation, followers) if a is not None), ("none", []))
        self.rest = (bias, *layout, *activation, "")

    def forward(self, images: Tensor) -> Tensor:
        if self.pad is not None and any(self.pad):
            images = nn.functional.pad(images, self.pad)
        return torch.ops.mkldnn._convolution_pointwise(images, self.weight, *self.rest)


def _activation(module: nn.Module) -> tuple[str, list[float]] | None:
    return ACTIVATIONS.get(type(module.act) if type(module) is BatchNormAct2d else type(module))


@torch.inference_mode()
def _fold(conv: nn.Conv2d, norms: list[nn.Module]) -> tuple[Tensor, Tensor]:
    """Weight and bias of a convolution that scales and shifts as the BatchNorm behind it does."""
    weight = conv.weight.double()
    bias = weight.new_zeros(len(weight)) if conv.bias is None else conv.bias.double()
    for norm in norms:
        scale = (norm.running_var.double() + norm.eps).rsqrt()
        shift = -norm.running_mean.double() * scale
        if norm.affine:
            scale, shift = scale * norm.weight, shift * norm.weight + norm.bias
        weight, bias = weight * scale.view(-1, 1, 1, 1), bias * scale + shift
    return weight.float(), bias.float()
