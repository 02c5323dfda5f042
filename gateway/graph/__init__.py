"""The program graph - nodes, edges, and how they are inferred."""
