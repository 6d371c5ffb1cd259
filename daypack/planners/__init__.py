"""Planners: recomputation, order, paging and layout under a memory budget. No JAX, no TVM."""
