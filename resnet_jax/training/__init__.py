"""Everything inside jit: state, losses, gradients, optimizers, schedules, and the pure steps made of them."""
