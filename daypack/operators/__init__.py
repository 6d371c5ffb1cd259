"""Operators with a derivative of their own, in plain JAX: models are built of them, users may call them."""
