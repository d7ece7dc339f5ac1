"""Adam without its start-up and bookkeeping: the same fused kernel, called directly.

`torch.optim.Adam` imports torch's compiler when constructed, and its Python costs a small model a
fifth of its step; `benchmarks/speed.py` measures both.
"""

import torch


class Adam:
    """Adam (Kingma & Ba 2015, algorithm 1); it skips steps with a non-finite loss or gradient."""

    def __init__(self, params, lr, betas=(0.9, 0.999), eps=1e-8):
        self.params = list(params)
        self.lr, self.betas, self.eps = lr, betas, eps
        self.exp_avgs = [torch.zeros_like(p) for p in self.params]
        self.exp_avg_sqs = [torch.zeros_like(p) for p in self.params]
        device = self.params[0].device
        self.step_count = torch.zeros((), device=device)
        self._one = torch.ones((), device=device)

    def step(self, loss):
        """One step down `loss`; returns a scalar tensor, 1 where the step was skipped, else 0.

        The skip happens inside the kernel, so the loop never waits for the device.
        """
        grads = [g.contiguous() for g in torch.autograd.grad(loss, self.params)]
        with torch.no_grad():
            skipped = torch.zeros_like(self._one)
            checked = [loss.detach(), *grads]  # each is multiplied by one, in place
            torch._amp_foreach_non_finite_check_and_unscale_(checked, skipped, self._one)
            self.step_count.add_(1).sub_(skipped)
            torch._fused_adam_(
                self.params,
                grads,
                self.exp_avgs,
                self.exp_avg_sqs,
                [],
                [self.step_count] * len(self.params),
                lr=self.lr,
                beta1=self.betas[0],
                beta2=self.betas[1],
                weight_decay=0.0,
                eps=self.eps,
                amsgrad=False,
                maximize=False,
                grad_scale=None,
                found_inf=skipped,
            )
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
