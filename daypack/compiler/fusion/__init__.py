"""Which operations share a kernel: decided once, before any plan, so that every plan has the same bits."""
