"""Operators with a derivative of their own, in plain JAX: what models are built of, and what users may call."""
