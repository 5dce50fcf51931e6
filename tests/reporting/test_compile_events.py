import jax
import numpy as np

from resnet_jax.reporting.compile_events import CompileCounter


def test_programs_are_counted_while_it_is_open_and_no_longer():
    double = jax.jit(lambda x: 2 * x)
    with CompileCounter() as counter:
        double(np.ones(3))
        assert counter.count >= 1 and counter.unexpected == 0
        counter.expect_no_more()
        double(np.zeros(3))
        assert counter.unexpected == 0
        double(np.ones(4))  # another shape, another program
        assert counter.unexpected == 1
    double(np.ones(5))
    assert counter.unexpected == 1
