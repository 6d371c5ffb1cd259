"""Flax (NNX) models and what surrounds them: weights, adapters, loss, data, optimizer.

A model leaves this package as a `task.Task`: a plain loss over flat dictionaries of published names, and the
sources of their initial values. Nothing here knows the compiler.
"""
