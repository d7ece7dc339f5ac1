"""Arithmetic that a device may lack, done on the CPU where it does."""

import torch

NO_FLOAT64 = {"mps"}  # device types without float64
HAS_GAMMA = {"cpu", "cuda"}  # device types with a kernel that draws from a Gamma distribution


def to_float64(tensor):
    """The tensor in float64: on its device, or on the CPU where its device has no float64."""
    if tensor.device.type in NO_FLOAT64:
        return tensor.cpu().double()
    return tensor.double()


def move_like(tensor, other):
    """A float32 tensor with the device and the dtype of another: in two steps, for a device without
    float64 converts nothing to it, not even on the way to the CPU.
    """
    return tensor.to(other.device).to(other.dtype)


def sample_gamma(concentration):
    """Draws from Gamma(concentration, 1), of its shape; on the CPU where the device has no such
    kernel.
    """
    on = concentration if concentration.device.type in HAS_GAMMA else concentration.cpu()
    on = on.contiguous()
    gamma = torch.distributions.Gamma(on, torch.ones_like(on), validate_args=False)
    return gamma.sample().to(concentration.device)
