"""Fused nodes → compiled kernels. The only folder that knows TVM."""
