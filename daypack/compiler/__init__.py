"""From a training step to a bundle: trace, passes, kernels, plan, emission."""
