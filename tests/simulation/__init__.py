"""A deterministic simulator: a seed decides the chains, the nodes, the workers and their deaths."""
