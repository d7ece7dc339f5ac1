"""Adam without its start-up and bookkeeping: torch's fused kernels, called directly.

`torch.optim.Adam` imports torch's compiler when constructed, and its Python costs a small model a
fifth of its step; `benchmarks/speed.py` measures both. The kernels are private functions of torch:
where one is missing or the device has none, public operations do the work, more slowly.
"""

import math

import torch

FUSED_DEVICES = {"cpu", "cuda"}  # device types for which torch is known to have both kernels


class Adam:
    """Adam (Kingma & Ba 2015, algorithm 1); it skips steps with a non-finite loss or gradient."""

    def __init__(self, params, lr, betas=(0.9, 0.999), eps=1e-8):
        self.params = list(params)
        self.lr, self.betas, self.eps = lr, betas, eps
        self.exp_avgs = [torch.zeros_like(p) for p in self.params]
        self.exp_avg_sqs = [torch.zeros_like(p) for p in self.params]
        self.step_count = torch.zeros((), device=self.params[0].device)
        self._one = torch.ones_like(self.step_count)

    def step(self, loss):
        """One step down `loss`; returns a scalar tensor, 1 where the step was skipped, else 0.

        Nothing here waits for the device: the step is skipped by what is computed on it.
        """
        grads = [g.contiguous() for g in torch.autograd.grad(loss, self.params)]
        with torch.no_grad():
            skipped = any_non_finite([loss.detach(), *grads], self._one)
            self.step_count.add_(1).sub_(skipped)
            moments = self.exp_avgs, self.exp_avg_sqs
            options = self.lr, self.betas, self.eps
            update(self.params, grads, *moments, self.step_count, skipped, *options)
        return skipped

    def state_dict(self):
        return {
            "step": self.step_count,
            "exp_avg": self.exp_avgs,
            "exp_avg_sq": self.exp_avg_sqs,
        }

    def load_state_dict(self, state):
        self.step_count.copy_(state["step"])
        for name, own in (("exp_avg", self.exp_avgs), ("exp_avg_sq", self.exp_avg_sqs)):
            for tensor, saved in zip(own, state[name], strict=True):
                tensor.copy_(saved)


def has_kernel(name, device):
    """Whether torch has the private function `name`, and for this device."""
    return hasattr(torch, name) and device.type in FUSED_DEVICES


def any_non_finite(tensors, one):
    """1 where any of the tensors holds a NaN or an infinity, else 0: a scalar as the 1 in `one`."""
    if has_kernel("_amp_foreach_non_finite_check_and_unscale_", one.device):
        found = torch.zeros_like(one)
        # It also multiplies each tensor by `one`, in place.
        torch._amp_foreach_non_finite_check_and_unscale_(tensors, found, one)
        return found
    finite = torch.stack([tensor.isfinite().all() for tensor in tensors]).all()
    return (~finite).to(one.dtype)


def update(params, grads, exp_avgs, exp_avg_sqs, step_count, skipped, lr, betas, eps):
    """Adam's step number `step_count` of all params and moments, in place; none where `skipped`."""
    if has_kernel("_fused_adam_", step_count.device):
        torch._fused_adam_(
            params,
            grads,
            exp_avgs,
            exp_avg_sqs,
            [],
            [step_count] * len(params),
            lr=lr,
            beta1=betas[0],
            beta2=betas[1],
            weight_decay=0.0,
            eps=eps,
            amsgrad=False,
            maximize=False,
            grad_scale=None,
            found_inf=skipped,
        )
        return
    kept = skipped > 0
    mean_correction, square_correction = (
        -torch.expm1(step_count * math.log(beta))  # 1 - beta^t, to the last digit in float32
        for beta in betas
    )
    for param, grad, exp_avg, exp_avg_sq in zip(params, grads, exp_avgs, exp_avg_sqs, strict=True):
        mean = betas[0] * exp_avg + (1 - betas[0]) * grad
        square = betas[1] * exp_avg_sq + (1 - betas[1]) * grad.square()
        root = (square / square_correction).sqrt() + eps
        moved = param - lr * mean / mean_correction / root
        for old, new in ((param, moved), (exp_avg, mean), (exp_avg_sq, square)):
            old.copy_(torch.where(kept, old, new))
