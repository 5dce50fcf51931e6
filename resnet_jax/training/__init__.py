"""Everything that runs inside jit: state, losses, gradients, optimizers, schedules, and the step functions."""
