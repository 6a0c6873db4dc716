"""JAX, compiled by its `jit`."""

import jax
import jax.numpy as jnp
import numpy as np

import layers_jax
from steps_jax import LOSSES, adamw


class Jax:
    def layer(self, name, tensors, gradients):
        """A call of a layer, and what turns its results into arrays by name."""
        tensors = {name: jnp.asarray(tensor) for name, tensor in tensors.items()}
        inputs = {name: tensor for name, tensor in tensors.items() if not name.startswith("cotangent.")}
        cotangents = {name.removeprefix("cotangent."): tensor for name, tensor in tensors.items()
                      if name.startswith("cotangent.")}
        leaves = {name: tensor for name, tensor in inputs.items() if jnp.issubdtype(tensor.dtype, jnp.floating)}
        rest = {name: tensor for name, tensor in inputs.items() if name not in leaves}
        layer = getattr(layers_jax, name)
        forward = jax.jit(lambda leaves, rest: layer(**leaves, **rest))

        @jax.jit
        def both(leaves, rest, cotangents):
            results, back = jax.vjp(lambda leaves: layer(**leaves, **rest), leaves)
            (gradients,) = back(cotangents)
            return results | {f"grad.{name}": gradient for name, gradient in gradients.items()}

        def run():
            results = both(leaves, rest, cotangents) if gradients else forward(leaves, rest)
            # quicker for small results than jax.block_until_ready
            for array in results.values():
                array.block_until_ready()
            return results

        return run, lambda results: {name: np.asarray(array) for name, array in results.items()}

    def step(self, name, parameters, batch):
        """A training step that gives its loss, and the gradients of the first parameters by name."""
        x, y = map(jnp.asarray, batch)
        loss, step = LOSSES[name], adamw(LOSSES[name])
        zeros = [{name: jnp.zeros_like(array) for name, array in parameters.items()} for _ in range(2)]
        # copies: the step takes over the memory of its state
        state = ({name: jnp.array(array) for name, array in parameters.items()}, *zeros, jnp.zeros((), jnp.int32))

        def run():
            nonlocal state
            state, value = jax.block_until_ready(step(state, x, y))
            return value

        def first_gradients():
            gradients = jax.jit(jax.grad(loss))(parameters, x, y)
            return {name: np.asarray(array) for name, array in gradients.items()}

        return run, first_gradients
