"""Which operations share a kernel: decided here once, before any plan, so that every plan has the same bits."""
