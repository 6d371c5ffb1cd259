"""Graph → graph, one pass a file. A pass never changes what the graph computes, only how it is written."""
