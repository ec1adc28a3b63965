"""Fusion of convolutions with the BatchNorm and the activation that follow them.

Executed module by module, a network such as EfficientNet-Lite0 spends more than half of its time outside its
convolutions: BatchNorm, activation and padding each read and write all pixels. Here the BatchNorm is folded
into the weights, and oneDNN, part of torch on x86 and ARM Linux, computes the activation in the same pass.
"""

import copy
from collections import Counter
from dataclasses import dataclass

import torch
from timm.layers import BatchNormAct2d, Conv2dSame
from timm.layers.padding import pad_same_arg
from torch import Tensor, nn

# name and parameters of activations in oneDNN
ACTIVATIONS: dict[type[nn.Module], tuple[str, list[float]]] = {
    nn.ReLU: ("relu", []),
    nn.ReLU6: ("hardtanh", [0.0, 6.0]),
    nn.SiLU: ("swish", []),
    nn.Hardswish: ("hardswish", []),
    nn.Sigmoid: ("sigmoid", []),
    nn.Hardsigmoid: ("hardsigmoid", []),
}


def fuse(module: nn.Module, example: Tensor) -> tuple[nn.Module, int]:
    """A faster copy of a module in eval mode, and the bytes of its largest activation for one image.

    A forward pass of the example records the calls. Outputs have to be compared: those of unusual modules may
    differ.

    Raises:
        ValueError: The module is not in eval mode, or has no convolution to fuse.
        Exception: Any, from unusual modules or from torch without oneDNN.
    """
    # a new Sequential of modules in eval mode is in training mode itself
    if any(part.training for part in module.modules() if type(part) is not nn.Sequential):
        raise ValueError("the module is not in eval mode")
    if example.device.type != "cpu":
        raise ValueError(f"the images are on {example.device}")
    network = nn.Sequential(copy.deepcopy(module)).to(memory_format=torch.channels_last)
    steps = _record(network, example[:1])
    chains = _chains(steps)
    if not chains:
        raise ValueError("the module has no convolution to fuse")
    replacements: dict[nn.Module, nn.Module] = {}
    for conv, *followers in chains:
        size = conv.input.shape[2:]
        replacements[conv.module] = FusedConv(conv.module, [step.module for step in followers], size)
        replacements |= {step.module: nn.Identity() for step in followers}
    for parent in list(network.modules()):
        for name, child in parent.named_children():
            if child in replacements:
                setattr(parent, name, replacements[child])
    return network, 4 * max(max(step.input.numel(), step.output.numel()) for step in steps)


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
    """Each convolution with the BatchNorm and the activation that directly follow it.

    Types are compared exactly, since subclasses may do more. Modules that are called twice are left out.
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
    """Whether a module is a BatchNorm with statistics, with an activation of oneDNN if it has one."""
    if type(module) is BatchNormAct2d and type(module.act) not in (nn.Identity, *ACTIVATIONS):
        return False
    return type(module) in (nn.BatchNorm2d, BatchNormAct2d) and module.running_mean is not None


class FusedConv(nn.Module):
    """A convolution with the BatchNorm and the activation that follow it, in one call of oneDNN.

    Args:
        conv: With symmetric padding, or TensorFlow's: one more at the bottom and right if needed.
        followers: A BatchNorm, an activation, both in this order, or neither.
        size: Height and width of the inputs.
    """

    def __init__(self, conv: nn.Conv2d, followers: list[nn.Module], size: torch.Size):
        super().__init__()
        weight, bias = _fold(conv, [module for module in followers if _is_norm(module)])
        padding, self.pad = list(conv.padding), [0, 0, 0, 0]
        if type(conv) is Conv2dSame:
            left, right, top, bottom = pad_same_arg(list(size), conv.kernel_size, conv.stride, conv.dilation)
            if conv.groups > 1 and conv.dilation == (1, 1):
                # symmetric padding and zeros before the kernel give the same result without copying the input
                padding = [bottom, right]
                weight = nn.functional.pad(weight, (right - left, 0, bottom - top, 0))
            else:
                self.pad = [left, right, top, bottom]
        layout = [padding, list(conv.stride), list(conv.dilation), conv.groups]
        shape = [1, conv.in_channels, size[0] + sum(self.pad[2:]), size[1] + sum(self.pad[:2])]
        weight = weight.contiguous(memory_format=torch.channels_last)
        self.weight = torch.ops.mkldnn._reorder_convolution_weight(weight, *layout, shape)
        activation = next(filter(None, map(_activation, followers)), ("none", []))
        self.arguments = (bias, *layout, *activation, "")

    def forward(self, images: Tensor) -> Tensor:
        if any(self.pad):
            images = nn.functional.pad(images, self.pad)
        return torch.ops.mkldnn._convolution_pointwise(images, self.weight, *self.arguments)


def _activation(module: nn.Module) -> tuple[str, list[float]] | None:
    return ACTIVATIONS.get(type(module.act) if type(module) is BatchNormAct2d else type(module))


@torch.inference_mode()
def _fold(conv: nn.Conv2d, norms: list[nn.Module]) -> tuple[Tensor, Tensor]:
    """Weight and bias of a convolution that includes the BatchNorms after it."""
    weight = conv.weight.double()
    bias = weight.new_zeros(len(weight)) if conv.bias is None else conv.bias.double()
    for norm in norms:
        scale = (norm.running_var.double() + norm.eps).rsqrt()
        shift = -norm.running_mean.double() * scale
        if norm.affine:
            scale, shift = scale * norm.weight, shift * norm.weight + norm.bias
        weight, bias = weight * scale.view(-1, 1, 1, 1), bias * scale + shift
    return weight.float(), bias.float()
